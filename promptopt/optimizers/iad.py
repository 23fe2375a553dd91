"""Replies that an LLM makes better by what a verifier said of the best and the worst: IAD [Chakraborty2025].

Souradip Chakraborty et al., *Review, Refine, Repeat: Understanding Iterative Decoding of AI Agents with Dynamic
Evaluation and Selection*, 2025, arXiv 2504.01931 (Iterative Agent Decoding). A prompt of the search *is* a reply to one
query, as in the pool ``responses``, and the scorer is the verifier. ::

    n replies to the query, each rated                                                   (best-of-n ends here)
    repeat rounds - 1 times:
        the query, the best reply so far, the worst of the last round, and what the verifier said of both
            -> LLM: n replies, each rated

=========== ============ ============== ===========================================================
parameter   paper        default here   why it differs
=========== ============ ============== ===========================================================
n           not stated   8
rounds      not stated   4
feedback    scores; text words          both, where the scorer says something
shown       best, worst  best, worst    the best of all rounds, the worst of the last one
temperature not stated   1.0
=========== ============ ============== ===========================================================

"Not stated" is what could not be looked up: only the abstracts of the paper's versions were at hand. The wording is
ours. Replies that came before are not rated again. ``best-of-n`` asks what the first round asks, to the letter, so what
it comes to can be read off a run of ``iad``. At as many replies, the baseline has ``n`` times ``rounds`` of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from ..checks import at_least
from ..core import ChatModel, Prompt, Rate, Rating, Setup
from ..errors import UnknownName, UserError
from ..text import shortened
from .proposers.asking import Asker
from .proposers.quoting import RULE, quoted
from .proposers.showing import LONGEST, MOST
from .steps import Ratings, RatingSearch, Search

__all__ = ["BestOfN", "Iad"]

SHOWN = 8_000
"""Characters of a reply that is shown; of a longer one the beginning and the end."""


class Iad(RatingSearch):
    """Samples replies to a query, and has the LLM improve on the best by what the verifier said of best and worst.

    The starting prompts are replies that the user has, if any. They are rated, and may be the best of a round.

    Args:
        model: replies; billed to the run as ``proposer``.
        query: what it is asked, as a user's turn.
        rounds: how often replies are sampled.
        n: replies in a round, sampled in one call.
        feedback: what of the verifier goes back: its ``scores`` alone (the paper's ablation), or its ``words`` as well:
            the rating's feedback and the reasons of its cases.
        temperature: of the model.

    Raises:
        UserError: a number is out of range, or the query is empty.
    """

    def __init__(
        self,
        *,
        model: ChatModel,
        query: str,
        rounds: int = 4,
        n: int = 8,
        feedback: Literal["scores", "words"] = "words",
        temperature: float = 1.0,
    ) -> None:
        at_least(1, rounds=rounds, n=n)
        if not query.strip():
            raise UserError("query is empty; give the text that the replies are to answer.")
        if feedback not in ("scores", "words"):
            raise UnknownName("feedback", feedback, ["scores", "words"])
        self._asker = Asker(model, temperature=temperature)
        self.query = query
        self.rounds = rounds
        self.n = n
        self.feedback = feedback

    @property
    def begins_alone(self) -> bool:
        """It begins with the query."""
        return True

    def begin(self, setup: Setup, /) -> None:
        """Start afresh and bill the model to this run."""
        self._setup = setup
        self._ratings = Ratings(setup.start, alone=True)
        self._rng = setup.rng()
        self._asker.begin(setup)
        self._search = self._refine()

    def _refine(self) -> Search:
        """The search of the paper."""
        if self._setup.start:
            yield [Rate(prompt, cases=True) for prompt in self._setup.start]
        last: list[Prompt] = []
        for turn in range(self.rounds):
            shown = self._extremes(last) if turn else []
            last = self._sampled(shown, turn)
            if new := [Rate(prompt, cases=True) for prompt in last if prompt not in self._ratings]:
                yield new

    def _extremes(self, last: Sequence[Prompt]) -> list[Prompt]:
        """The best of all, and the worst of the last round if that is another; none where nothing could be scored."""
        best = self._ratings.ranked([self._ratings.best])
        return best + [prompt for prompt in self._ratings.ranked(last)[-1:] if prompt not in best]

    def _sampled(self, shown: Sequence[Prompt], turn: int) -> list[Prompt]:
        """Replies of one call that the target can take, each once."""
        origin = {"step": f"{turn}", "parents": [prompt.text for prompt in shown]}
        replies = self._asker.replies(self._message(shown), self._rng, n=self.n)
        prompts = [Prompt(text, origin) for text in dict.fromkeys(replies)]
        return [prompt for prompt in prompts if self._setup.problem_with(prompt) is None]

    def _message(self, shown: Sequence[Prompt]) -> str:
        """The query; behind it, once replies were rated, what became of the best and the worst."""
        if not shown:
            return self.query
        told = [pair for name, one in zip(("best", "worst"), shown, strict=False) for pair in self._told(name, one)]
        better = "Keep what is right about the best one, and mend what is said against it"
        better += "; avoid what makes the worst one bad." if len(shown) > 1 else "."
        parts = [
            self.query,
            "Replies to this were given before, and a verifier has judged them. Higher scores are better.",
            RULE,
            quoted(told),
            f"Write a better reply. {better} Answer with the reply alone, as if you had seen none of these.",
        ]
        return "\n\n".join(parts)

    def _told(self, name: str, prompt: Prompt) -> list[tuple[str, str]]:
        """A reply, its score and what the verifier said."""
        rating = self._ratings[prompt]
        told = [
            (f"The {name} reply so far" if name == "best" else f"A {name} reply", prompt.text),
            (f"Its score, {name}", f"{rating.value:.4g}"),
        ]
        told = [(title, shortened(text, most=SHOWN)) for title, text in told]
        if self.feedback == "words" and (said := words(rating)):
            told.append((f"What the verifier says of it, {name}", said))
        return told


class BestOfN(Iad):
    """The best of ``n`` replies that an LLM samples for a query: the first round of ``iad``, and no other.

    Args:
        model: replies; billed to the run as ``proposer``.
        query: what it is asked, as a user's turn.
        n: replies, sampled in one call.
        temperature: of the model.

    Raises:
        UserError: a number is out of range, or the query is empty.
    """

    def __init__(self, *, model: ChatModel, query: str, n: int = 8, temperature: float = 1.0) -> None:
        super().__init__(model=model, query=query, rounds=1, n=n, temperature=temperature)


def words(rating: Rating) -> str:
    """What a rating says besides its value: its feedback, and the reasons of its cases, those of the lowest first."""
    cases = sorted(rating.cases, key=lambda case: case.value if case.value == case.value else float("inf"))
    said = dict.fromkeys(text.strip() for text in (rating.feedback, *(case.reason for case in cases)) if text.strip())
    return shortened("\n".join(shortened(text, most=LONGEST) for text in said), most=MOST // 2)
