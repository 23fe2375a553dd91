"""The CLIP Interrogator's chain: phrases that bring a text nearer to a picture, one after another, without an LLM.

pharmapsychotic's *CLIP Interrogator*, https://github.com/pharmapsychotic/clip-interrogator, after Hertzmann's *Methods
for image interrogation*. It needs no generator: a CLIP model compares texts with the reference pictures. ::

    prompt <- the caption
    of every list but the last the phrase nearest to the picture;
        prompt <- the prompt with those of these phrases, all or some or none, that is nearest
    repeat: prompt <- the prompt with that phrase of the last list which makes it nearest
        until none makes it nearer, or the text tower is full

=========== ================================= =================================== ==================================
what        original                          here                                why it differs
=========== ================================= =================================== ==================================
caption     BLIP writes it                    the starting prompt                 no captioner comes along
first lists mediums, artists, trending,       all of ``phrases`` but the last     the user's; those of the embedded
            movements                                                             painter come along
last list   flavors, 100,000                  the last of ``phrases``
shortlist   the 2,048 nearest flavors         the same
most        32 flavors                        the same
nearness    cosine with one picture           mean cosine with all references     several pictures of one subject
ties        any                               the first in the list               equal runs ask equal questions
answer      the last prompt                   the best rated of the chain         a rating, if of pictures, knows more
=========== ================================= =================================== ==================================

The prompts of the chain, the starting prompt first, are what the scorer is asked to rate, all at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain, combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..checks import at_least, not_empty
from ..core import Example, Prompt, Setup
from ..errors import require
from ..vocabulary.lists import Lists, phrase_lists
from .steps import Ratings, RatingSearch, Search

if TYPE_CHECKING:
    from ..core import Array
    from ..targets.clip.references import References

__all__ = ["Interrogate"]


class Interrogate(RatingSearch):
    """Chains phrases by CLIP similarity to the reference pictures, and has the prompts of the chain rated.

    References are the labels of the run's examples: pictures, as of the data set ``drawings``, or texts.

    Args:
        examples: the run's.
        phrases: lists of phrases by name, a TOML file of such lists, or one list. Of each but the last one phrase may
            come in at first, of the last any number. By default what the embedded painter understands, and some more.
        join: what stands between two phrases.
        shortlist: how many phrases of the last list are tried, those nearest to the picture.
        most: phrases of the last list that come in at most.
        model: the CLIP model, as of the target ``clip``; best one that does not score the run as well.
        pretrained: likewise.
        like: likewise.
        device: likewise.
        cache: folder for the features of pictures; True is the user's cache folder, False or None keeps none.

    Raises:
        UserError: there are no references or no phrases, or an argument cannot be used.
        MissingExtra: the extra ``clip`` is not installed.
    """

    def __init__(
        self,
        *,
        examples: Sequence[Example],
        phrases: Lists | None = None,
        join: str = ", ",
        shortlist: int = 2048,
        most: int = 32,
        model: str = "embedded",
        pretrained: str | None = None,
        like: str | None = None,
        device: str = "auto",
        cache: str | Path | bool | None = True,
    ) -> None:
        at_least(1, shortlist=shortlist)
        at_least(0, most=most)
        not_empty(examples=examples)
        for package in ("torch", "open_clip", "PIL"):
            require(package, extra="clip")
        from ..targets.clip.references import loaded_references

        self.join = join
        self.shortlist = shortlist
        self.most = most
        *self._first, self._last = phrase_lists(phrases)
        how: dict[str, Any] = {"model": model, "pretrained": pretrained, "like": like, "device": device, "cache": cache}
        found = loaded_references(examples, needed_by="interrogate", **how)
        self._references: References | None = found[1] if found else None  # without, it only helps to check a recipe

    def begin(self, setup: Setup, /) -> None:
        """Start afresh."""
        setup.note("Phrases were chained by CLIP similarity to the references; no LLM was used.")
        self._setup = setup
        self._ratings = Ratings(setup.start)
        self._search = self._ask()

    def _ask(self) -> Search:
        """The prompts of the chain, all at once."""
        origin = {"step": "chain", "parents": [self._setup.start[0].text]}
        prompts = [*self._setup.start, *(Prompt(text, origin) for text in self._chain())]
        yield from self._rate([prompt for prompt in prompts if self._setup.problem_with(prompt) is None])

    # ── The method ────────────────────────────────────────────────────────────────────────────────────────────────

    def _chain(self) -> Iterator[str]:
        """Ever nearer prompts."""
        prompt, near = self._start()
        if prompt != self._setup.start[0].text:
            yield prompt
        left = self._nearest(self._last, n=self.shortlist)
        for _ in range(self.most):
            longer = self._fitting([self._with(prompt, phrase) for phrase in left])
            if not longer:
                return
            nearness = self._near(longer)
            best = int(np.argmax(nearness))
            if nearness[best] <= near:
                return
            prompt, near = longer[best], float(nearness[best])
            left = [phrase for phrase in left if self._with("", phrase) not in prompt.split(self.join)]
            yield prompt

    def _start(self) -> tuple[str, float]:
        """The caption with those of the nearest phrases of the first lists that are best together; how near it is."""
        caption = self._setup.start[0].text
        best = [self._nearest(phrases, n=1)[0] for phrases in self._first]
        some = chain.from_iterable(combinations(best, n) for n in range(len(best) + 1))
        prompts = self._fitting([self._with(caption, *phrases) for phrases in some]) or [caption]
        nearness = self._near(prompts)
        return prompts[int(np.argmax(nearness))], float(nearness.max())

    def _nearest(self, phrases: Sequence[str], *, n: int) -> list[str]:
        """The phrases that by themselves are nearest to the references, nearest first."""
        return [phrases[i] for i in np.argsort(-self._near(phrases), kind="stable")[:n]]

    def _near(self, texts: Sequence[str]) -> Array:
        assert self._references is not None
        near: Array = np.round(self._references.similarity(texts), 6)  # beyond shows only how texts were batched
        return near

    def _with(self, prompt: str, *phrases: str) -> str:
        return self.join.join(filter(None, [prompt, *phrases]))

    def _fitting(self, texts: Sequence[str]) -> list[str]:
        assert self._references is not None
        return [text for text in texts if self._references.fits(text)]
