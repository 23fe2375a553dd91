"""Values: prompts and examples, questions and answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array: TypeAlias = NDArray[np.float64]
    Indices: TypeAlias = NDArray[np.intp]


@dataclass(frozen=True)
class Prompt:
    """The text being searched for. Two prompts are equal when their texts are equal.

    For CLIP the text is a template with one ``{}`` where the class name goes; several lines are an ensemble of
    templates, and of texts of single classes, ``class: text``. A prompt of several parts is one text as well, with a
    heading before each part (:mod:`promptopt.parts`).

    Attributes:
        text: the prompt.
        origin: where it came from, as JSON values: ``parents`` (texts), ``step`` and whatever its optimizer adds.
    """

    text: str
    origin: Mapping[str, Any] = field(default_factory=dict, compare=False)


@dataclass(frozen=True)
class Example:
    """One labelled case of a task. ``id`` is unique within its dataset; ``label`` is a class name or an answer."""

    id: str
    input: Any
    label: Any


@dataclass(frozen=True)
class Dataset:
    """A task's examples: ``train`` for the search, ``dev`` for an optional final choice, ``test`` for the verdict.

    ``classes`` holds the class names of a classification task, in the order of the scores that a target returns.
    """

    name: str
    train: tuple[Example, ...]
    dev: tuple[Example, ...] = ()
    test: tuple[Example, ...] = ()
    classes: tuple[str, ...] = ()


NO_START = Prompt("", {"step": "no start"})
"""What stands for the starting prompt of a run that was given none; no part is shown it."""


@dataclass(frozen=True)
class Rate:
    """A question: how good is this prompt?

    Attributes:
        prompt: the prompt to rate.
        on: ids of the examples to rate it on; empty means the whole training split.
        cases: whether the answer is to tell what happened on each example.
        number: set by the run when the question is asked. A scorer keys its random draws by it.
    """

    prompt: Prompt
    on: tuple[str, ...] = ()
    cases: bool = False
    number: int = field(default=-1, compare=False)


@dataclass(frozen=True)
class Case:
    """What happened on one example.

    Attributes:
        example: its id.
        output: what the target gave, as text of bounded length, or a picture's name (:class:`KeepsPictures`); None
            where it gave nothing.
        value: the metric's number; NaN where the output could not be scored for outside reasons.
        reason: the metric's reason, or why the output failed or is missing.
    """

    example: str
    output: str | None
    value: float
    reason: str = ""


@dataclass(frozen=True)
class Coverage:
    """On how much of what was asked a rating rests.

    Attributes:
        examples: how many were asked.
        scored: how many have a value; the failed ones are among them.
        failed: how many outputs came about but could not be used, and so count as the metric's worst value.
        reasons: why outputs failed or stayed unscored, and how many did for each reason.
    """

    examples: int
    scored: int
    failed: int = 0
    reasons: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Rating:
    """The answer to :class:`Rate`.

    Attributes:
        value: mean over the examples that could be scored; NaN if none could.
        tiebreak: decides between equal values.
        per_example: ``(n_examples,)`` in the order asked; NaN means could not be scored for outside reasons, never a
            silent 0.
        feedback: errors and critiques, in short, for people, and for the LLM of an optimizer that shows it (``iad``).
        coverage: on how many examples the value rests; None where the scorer has no examples.
        cases: what happened on each example, in the order asked, where the question asked for it; else empty.
        objectives: what the prompt costs besides, by name, such as ``seconds`` an example; lower is better. A run keeps
            those that its recipe names.
    """

    value: float
    tiebreak: float = 0.0
    per_example: Array | None = field(default=None, compare=False)
    feedback: str = ""
    coverage: Coverage | None = field(default=None, compare=False)
    cases: tuple[Case, ...] = field(default=(), compare=False)
    objectives: Mapping[str, float] = field(default_factory=dict, compare=False)

    @property
    def rank(self) -> tuple[float, float]:
        """What ratings are ordered by; an unscored rating comes last."""
        return (self.value, self.tiebreak) if self.value == self.value else (float("-inf"), float("-inf"))


@dataclass(frozen=True)
class Duel:
    """A question: which of these two prompts is better? ``number`` as in :class:`Rate`."""

    a: Prompt
    b: Prompt
    number: int = field(default=-1, compare=False)


Winner: TypeAlias = Literal["a", "b", "tie", "unknown"]


@dataclass(frozen=True)
class Preference:
    """The answer to :class:`Duel`; ``unknown`` means that the answerer could not tell.

    ``details`` says as JSON values who answered and how, for example ``{"by": {"ada": "a"}, "swapped": true}``.
    """

    winner: Winner
    details: Mapping[str, Any] = field(default_factory=dict, compare=False)


@dataclass(frozen=True)
class Picture:
    """An encoded image, as providers take it."""

    data: bytes = field(repr=False)
    type: Literal["image/png", "image/jpeg", "image/webp", "image/gif"] = "image/png"


@dataclass(frozen=True)
class Elite:
    """The best prompt of a cell of an archive, from one question on.

    Attributes:
        cell: its place: for each measure, the number of the range that it falls into, from 0.
        prompt: the prompt.
        value: its rating; the mean of several where it was rated again.
        measured: by the name of each measure, the number or the word that was measured.
        question: the number of the question whose answer brought it there.
    """

    cell: tuple[int, ...]
    prompt: Prompt
    value: float
    measured: Mapping[str, float | str]
    question: int


@dataclass(frozen=True)
class Archive:
    """The best prompt of each kind.

    Attributes:
        ranges: for each measure, by name, what its ranges are called, the lowest first.
        history: every elite in the order in which they came; the last one of a cell holds it. One whose rating changed
            stands there again.
    """

    ranges: Mapping[str, tuple[str, ...]]
    history: tuple[Elite, ...]


@dataclass(frozen=True)
class Belief:
    """What an optimizer that gets no ratings thinks of its incumbent.

    Attributes:
        confidence: the probability, in [0, 1], that no other prompt it knows is better.
        questions: how many more answers are likely to matter; None where it cannot say.
    """

    confidence: float
    questions: int | None = None
