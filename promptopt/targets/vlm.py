"""A vision-language chat model as an image classifier: the tasks of the ``clip`` target, by changing one line."""

from __future__ import annotations

import io
import re
import unicodedata
import zlib
from collections.abc import Iterator, Sequence

from ..checks import at_least, check_argument
from ..core import ChatModel, Chooses, Example, Failed, Message, Missing, Picture, Prompt, Reply, Setup
from ..errors import BrokenFile
from ..fanout import fan_out
from ..models.choices import chooser
from .images import BROKEN, open_image
from .labels import Answers, Row, Words, chosen, labels_for
from .replies import asked, unusable

__all__ = ["VlmClassifier"]

STREAM = int.from_bytes(b"vlm")
"""Key of the random stream, so that other draws of the scorer are left alone."""

LARGEST_PNG = 100_000
"""Bytes. A larger picture, which is a photo, is sent as JPEG."""


class VlmClassifier:
    """Shows a chat model each image and asks which class it is.

    The prompt is free text. The names of the classes and the wish for one of them follow it, so that every prompt can
    be answered:

        What is in the picture?

        Answer with one of these names and nothing else: cat, dog, hot dog

    So that a template for CLIP can be run too, ``{}`` is replaced by the names, joined with *or*, and they do not
    follow again: *a photo of a cat, dog or hot dog*.

    An output is the name of the class that the reply names: it is that name, but for case and punctuation around it, or
    it contains that name and no other. Refused and empty replies, cut-off ones in which there is no such name, and
    those that name no class or several, are :class:`promptopt.core.Failed`, and counted; so are requests that the
    provider refuses for what stands in them. One that got no answer after all retries is
    :class:`promptopt.core.Missing`, and so is an image that cannot be decoded.

    Every call has a seed of its own, drawn from the run's seed, the prompt and the example. Each image is made smaller
    where it has to be, encoded once and kept in memory: as PNG, or as JPEG where that is larger than 100 kB.

    Args:
        model: takes pictures; billed to the run as ``target``.
        classes: the names, as the labels of the examples have them.
        max_side: pixels of an image's longer side at most.
        temperature: of the model.
        workers: calls at a time.
        answers: ``written``; or ``likelihood``, which writes nothing and asks the model how likely each class is as its
            reply (:class:`~promptopt.targets.labels.Labels`): no reply is then unreadable.
        labels: by likelihood, the word or words that stand for each class, if they are not the names.
        length_normalized: whether a label's log-probability is the mean over its tokens, and not the sum.

    Raises:
        UserError: a number is out of range, or two classes differ in nothing but case and punctuation; or
            the model does not say how likely replies are.
    """

    metric = "accuracy"
    tiebreak: str | None = None

    def __init__(
        self,
        *,
        model: ChatModel,
        classes: Sequence[str],
        max_side: int = 512,
        temperature: float = 0.0,
        workers: int = 8,
        answers: Answers = "written",
        labels: Words | None = None,
        length_normalized: bool = False,
    ) -> None:
        at_least(1, max_side=max_side, workers=workers)
        at_least(0, temperature=temperature)
        self._names = {_plain(name): name for name in classes}
        holds = not isinstance(classes, str) and 1 <= len(classes) == len(self._names) and "" not in self._names
        allowed = "a list of one or more names that differ in more than case"
        check_argument("classes", classes, allowed=allowed, holds=holds)
        longest_first = sorted(self._names, key=len, reverse=True)
        self._any_name = re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, longest_first))})(?!\w)")
        self._classes = tuple(classes)
        self._labels = labels_for(answers, labels, classes=classes, length_normalized=length_normalized)
        if self._labels:
            chooser(model)
            self.tiebreak = "log-probability"
        self._model = self._billed = model
        self._max_side, self._temperature, self._workers = max_side, temperature, workers
        self._pictures: dict[int, tuple[Example, Picture]] = {}  # by identity; holding the example keeps its id taken

    def begin(self, setup: Setup, /) -> None:
        """Take the run's random streams and bill the model to it."""
        self._setup = setup
        self._billed = setup.model(self._model, role="target")

    def problem_with(self, prompt: Prompt, /) -> str | None:
        """Why this prompt cannot be run: it is empty."""
        return None if prompt.text.strip() else "the prompt is empty; write a question about the picture."

    def run(self, prompt: Prompt, examples: Sequence[Example], /) -> list[str | Failed | Missing]:
        """Names of classes, in order.

        An example's input is a path, a PIL image, or a uint8 array ``(height, width)`` or ``(height, width, 3)``.

        Raises:
            BudgetExhausted: the next call would exceed the budget.
            ModelError: the provider refuses whatever it is asked, or ten requests in a row got no answer.
            UserError: there is no such image.
        """
        (outputs,) = self.run_batch([prompt], examples)
        return outputs

    def run_batch(
        self, prompts: Sequence[Prompt], examples: Sequence[Example], /
    ) -> Iterator[list[str | Failed | Missing]]:
        """What ``run`` returns, prompt by prompt, each as soon as it is complete; all calls are made side by side.

        Raises:
            BudgetExhausted, ModelError, UserError: as ``run``.
        """
        jobs = [(prompt, example) for prompt in prompts for example in examples]
        replies = fan_out(lambda job: self._ask(*job), jobs, workers=self._workers)
        for _ in prompts:
            yield [self._read(next(replies)) for _ in examples]

    # ── What is sent ──────────────────────────────────────────────────────────────────────────────────────────────

    def _ask(self, prompt: Prompt, example: Example) -> Reply | Row | Failed | Missing:
        stream = self._setup.rng(STREAM, zlib.crc32(_bytes(prompt.text)), zlib.crc32(_bytes(example.id)))
        try:
            message = Message("user", self.question(prompt), (self._picture(example),))
        except BrokenFile as error:
            return Missing(f"{BROKEN}: {error}")
        if self._labels:
            assert isinstance(self._billed, Chooses)
            return chosen(self._billed, [message], self._labels, setup=self._setup)
        seed = int(stream.integers(2**31))
        return asked(self._billed, [message], temperature=self._temperature, seed=seed, setup=self._setup)

    def question(self, prompt: Prompt) -> str:
        """The text that is sent beside the picture."""
        *most, last = self._classes
        names = f"{', '.join(most)} or {last}" if most else last
        if "{}" in prompt.text:
            return f"{prompt.text.replace('{}', names)}\n\nAnswer with one of these names and nothing else."
        return f"{prompt.text}\n\nAnswer with one of these names and nothing else: {', '.join(self._classes)}"

    def _picture(self, example: Example) -> Picture:
        if id(example) not in self._pictures:
            self._pictures[id(example)] = (example, encode(example, max_side=self._max_side))
        return self._pictures[id(example)][1]

    # ── What comes back ───────────────────────────────────────────────────────────────────────────────────────────

    def _read(self, reply: Reply | Row | Failed | Missing) -> str | Failed | Missing:
        if isinstance(reply, Failed | Missing):
            return reply
        if not isinstance(reply, Reply):
            assert self._labels is not None
            return self._labels.likeliest(reply)
        failed = unusable(reply, model=self._model, setup=self._setup)
        if (failed is None or reply.finish == "length") and (name := self.class_in(reply.text)):
            return name
        if failed is None:
            self._setup.count("replies that name no class, or several")
        return failed or Failed("no class, or several", reply.text)

    def class_in(self, text: str) -> str | None:
        """The class that a reply names, thoughts left out; None if it names none, or several."""
        said = _plain(text.rpartition("</think>")[2])
        named = {said} & set(self._names) or set(self._any_name.findall(said))
        return self._names[named.pop()] if len(named) == 1 else None


def encode(example: Example, *, max_side: int) -> Picture:
    """An example's image as a provider takes it.

    Raises:
        BrokenFile: it cannot be decoded.
        UserError: there is no such file.
    """
    image = open_image(example)
    image.thumbnail((max_side, max_side))
    data = io.BytesIO()
    image.save(data, "PNG")
    if data.tell() <= LARGEST_PNG:
        return Picture(data.getvalue(), "image/png")
    data = io.BytesIO()
    image.save(data, "JPEG", quality=90)
    return Picture(data.getvalue(), "image/jpeg")


def _plain(text: str) -> str:
    """A text in which case, punctuation around it and the kind of space do not count."""
    words = unicodedata.normalize("NFKC", text).casefold().replace("_", " ").split()
    return " ".join(words).strip(" .,;:!?*`'\"“”‘’()[]<>")


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
