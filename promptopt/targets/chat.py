"""A chat LLM as the target: an instruction, demonstrations if wanted, an input."""

from __future__ import annotations

import zlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import demonstrations as demos
from ..checks import at_least
from ..core import ChatModel, Chooses, Example, Failed, Message, Missing, Prompt, Reply, Setup
from ..errors import UserError
from ..fanout import fan_out
from ..models.choices import chooser
from ..parts import parts_of
from .labels import Answers, Calibration, Likeliest, Row, Words, chosen, content_free, labels_for
from .placeholders import fill, names, text_of, values
from .replies import asked, unusable

PARTS = ("system", "instruction", "demonstrations")

STREAM = int.from_bytes(b"target")
"""Key of the random stream, so that other draws of the scorer are left alone."""


class ChatTarget:
    """Asks a chat model for each example.

    An output is the reply's text. A refused, empty or cut-off reply is :class:`promptopt.core.Failed`, with what there
    is of its text, and counted; so is a request that the provider refuses for what stands in it. One that got no answer
    after all retries is :class:`promptopt.core.Missing`.

    Every call has a seed of its own, drawn from the run's seed, the prompt and the example. Demonstrations are turns of
    the conversation: inputs in the template, labels as the model's answers. Those that the option asks for are the same
    for every prompt, in the search and in the verdict; only where the example itself is among them, the next one takes
    its place.

    A prompt of several parts has ``instruction``, which is the ``{prompt}`` of the template, ``system``, which is sent
    as the system message, and ``demonstrations``, the ids of training examples (:mod:`promptopt.demonstrations`), which
    are shown in that order, with their labels or with the answers that stand there. An example that is asked is left
    out of them, and so is one with the same input. An empty part is left out. Without ``{prompt}`` in the template
    ``system`` and ``instruction`` are both sent as the system message.

    Args:
        model: answers; billed to the run as ``target``.
        template: how prompt and input are put. ``{prompt}`` and ``{input}`` are replaced, and ``{name}`` by a field of
            an input that is a dict. Without ``{prompt}`` the prompt is sent as the system message.
        demonstrations: how many training examples are shown with their labels, beside every prompt.
        examples: where demonstrations are drawn from, and those that the part of that name may show; the
            run's training examples.
        seed: of that draw; the run's seed.
        temperature: of the model.
        workers: calls at a time.
        answers: ``written``; or ``likelihood``, which writes nothing and asks the model how likely each label is as its
            reply (:class:`~promptopt.targets.labels.Labels`); an output is then the likeliest label.
        labels: what is chosen among by likelihood: labels, or the word or words that stand for each; by default the
            data set's classes, or else the labels of the training examples.
        calibration: of likelihoods: ``content-free`` [Zhao2021], which takes three calls more a prompt, or ``none``.
        length_normalized: whether a label's log-probability is the mean over its tokens, and not the sum.
        classes: of the data set; those of the run.

    Raises:
        UserError: a number is out of range, the template lacks ``{input}``, there are too few demonstrations, or labels
            cannot be chosen among, or not by this model.
    """

    metric = "match"
    tiebreak: str | None = None
    classes: Sequence[str] = ()
    takes_parts: Collection[str] | None = PARTS
    takes_demonstrations = True

    def __init__(
        self,
        *,
        model: ChatModel,
        template: str = "{prompt}\n\nInput: {input}\nOutput:",
        demonstrations: int = 0,
        examples: Sequence[Example] = (),
        seed: int = 0,
        temperature: float = 0.0,
        workers: int = 8,
        answers: Answers = "written",
        labels: Words | None = None,
        calibration: Calibration = "none",
        length_normalized: bool = False,
        classes: Sequence[str] = (),
    ) -> None:
        at_least(0, demonstrations=demonstrations, temperature=temperature)
        at_least(1, workers=workers)
        if not names(template) - {"prompt"}:
            raise UserError(f"the template {template!r} shows no input; write {{input}} where it goes.")
        if demonstrations and demonstrations >= len(examples):
            raise UserError(
                f"demonstrations is {demonstrations}, but there are {len(examples)} training examples, and the one "
                "that is asked cannot be shown. Ask for fewer."
            )
        self._model = self._billed = model
        how: dict[str, Any] = {"calibration": calibration, "length_normalized": length_normalized}
        self._labels = labels_for(answers, labels, classes=classes, examples=examples, **how)
        if self._labels:
            chooser(model)
            self.metric, self.tiebreak, self.classes = "accuracy", "log-probability", self._labels.names
        self.template = template
        self._temperature = temperature
        self._workers = workers
        self._n_shown = demonstrations
        order = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(STREAM,))).permutation(len(examples))
        self._shown = [examples[i] for i in order] if demonstrations else []
        self._by_id = {example.id: example for example in examples}

    def begin(self, setup: Setup, /) -> None:
        """Take the run's random streams and bill the model to it."""
        self._setup = setup
        self._billed = setup.model(self._model, role="target")

    def problem_with(self, prompt: Prompt, /) -> str | None:
        """Why this prompt cannot be run: it is empty, or its demonstrations cannot be shown."""
        said = _said(prompt)
        if self._n_shown and said.demonstrations:
            return f"the target shows {self._n_shown} demonstrations already; leave them out, or that part."
        if problem := demos.problem_with(said.demonstrations, self._by_id):
            return problem
        return None if said.instruction.strip() or said.system.strip() else "the prompt is empty; write an instruction."

    def run(self, prompt: Prompt, examples: Sequence[Example], /) -> Sequence[str | Failed | Missing]:
        """The replies' texts, in order.

        Raises:
            BudgetExhausted: the next call would exceed the budget.
            ModelError: the provider refuses whatever it is asked, or ten requests in a row got no answer.
            UserError: an input is no text, or lacks a field that the template names.
        """
        (outputs,) = self.run_batch([prompt], examples)
        return outputs

    def run_batch(
        self, prompts: Sequence[Prompt], examples: Sequence[Example], /
    ) -> Iterator[Sequence[str | Failed | Missing]]:
        """What ``run`` returns, prompt by prompt, each as soon as it is complete; all calls are made side by side.

        Raises:
            BudgetExhausted, ModelError, UserError: as ``run``.
        """
        if self._labels:
            yield from self._chosen(prompts, examples)
            return
        jobs = [(prompt, example) for prompt in prompts for example in examples]
        replies = fan_out(lambda job: self._ask(*job), jobs, workers=self._workers)
        for _ in prompts:
            yield [self._read(next(replies)) for _ in examples]

    def _chosen(
        self, prompts: Sequence[Prompt], examples: Sequence[Example]
    ) -> Iterator[list[Likeliest | Failed | Missing]]:
        assert self._labels is not None
        empty = content_free(examples[0]) if self._labels.calibrated and examples else []
        jobs = [(prompt, example) for prompt in prompts for example in [*empty, *examples]]
        rows = fan_out(lambda job: self._choose(*job), jobs, workers=self._workers)
        for _ in prompts:
            found = [next(rows) for _ in range(len(empty) + len(examples))]
            yield self._labels.outputs(found, empty=len(empty))

    # ── One call ──────────────────────────────────────────────────────────────────────────────────────────────────

    def _ask(self, prompt: Prompt, example: Example) -> Reply | Failed | Missing:
        stream = self._setup.rng(STREAM, zlib.crc32(_bytes(prompt.text)), zlib.crc32(_bytes(example.id)))
        messages, seed = self.messages(prompt, example), int(stream.integers(2**31))
        return asked(self._billed, messages, temperature=self._temperature, seed=seed, setup=self._setup)

    def _choose(self, prompt: Prompt, example: Example) -> Row | Failed | Missing:
        assert self._labels is not None
        assert isinstance(self._billed, Chooses)
        return chosen(self._billed, self.messages(prompt, example), self._labels, setup=self._setup)

    def messages(self, prompt: Prompt, example: Example) -> list[Message]:
        """What is sent for an example.

        Raises:
            UserError: as ``run``.
        """
        said = _said(prompt)
        texts = [said.system] if "prompt" in names(self.template) else [said.system, said.instruction]
        system = [Message("system", text)] if (text := _joined(texts)) else []
        turns = [turn for shown in self._demonstrations(said, example) for turn in self._shown_turns(said, *shown)]
        return [*system, *turns, self._turn(said, example)]

    def _turn(self, said: _Said, example: Example) -> Message:
        filled = fill(self.template, values(example, prompt=said.instruction))
        return Message("user", filled if said.instruction else filled.lstrip("\n"))

    def _shown_turns(self, said: _Said, shown: Example, answer: str | None) -> tuple[Message, Message]:
        """A demonstration; of several labels that count, the first is shown, and of a label's words the first."""
        if answer is None:
            label = shown.label[0] if isinstance(shown.label, list | tuple) and shown.label else shown.label
            answer = self._labels.word(label) if self._labels else text_of(label, shown)
        return self._turn(said, shown), Message("assistant", answer)

    def _demonstrations(self, said: _Said, asked: Example) -> list[tuple[Example, str | None]]:
        """What is shown beside what is asked, each with its answer, or None for its label."""
        named = [(self._by_id[one.example], one.output) for one in demos.read(said.demonstrations)]
        shown = named or [(one, None) for one in self._shown]
        return [(one, answer) for one, answer in shown if _other(one, asked)][: self._n_shown or None]

    def _read(self, reply: Reply | Failed | Missing) -> str | Failed | Missing:
        if not isinstance(reply, Reply):
            return reply
        return unusable(reply, model=self._model, setup=self._setup) or reply.text


@dataclass(frozen=True)
class _Said:
    """A prompt as this target reads it."""

    system: str = ""
    instruction: str = ""
    demonstrations: str = ""


def _said(prompt: Prompt) -> _Said:
    parts = parts_of(prompt.text) or {"instruction": prompt.text}
    return _Said(**{name: parts.get(name, "") for name in PARTS})


def _joined(texts: Sequence[str]) -> str:
    """The texts that are not empty, with a blank line between them."""
    return "\n\n".join(text for text in texts if text)


def _other(one: Example, asked: Example) -> bool:
    return one.id != asked.id and one.input != asked.input


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
