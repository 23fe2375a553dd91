"""The seams: what an optimizer, a scorer, a target, a metric and an embedder are, and what a run offers them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias, TypeVar, runtime_checkable

from .chat import ChatModel
from .values import Duel, Example, Preference, Prompt, Rate, Rating

if TYPE_CHECKING:
    import numpy as np

    from .values import Array

Q = TypeVar("Q")


A_co = TypeVar("A_co", covariant=True)


A_contra = TypeVar("A_contra", contravariant=True)


class Embedder(Protocol):
    """Turns texts into vectors, so that texts of like meaning lie close."""

    @property
    def name(self) -> str:
        """What makes its vectors what they are; part of the key under which they are cached."""

    def embed(self, texts: Sequence[str], /) -> Array:
        """``(n_texts, d)`` float64, one row per text, each of length 1. What a row is does not depend on the others."""


class Setup(Protocol):
    """What a run gives to a part before the first question."""

    @property
    def start(self) -> Sequence[Prompt]:
        """The prompts that the user starts from; may be empty."""

    def rng(self, *key: int) -> np.random.Generator:
        """The part's own random stream, spawned from the run's seed.

        Without a key: the stream of a part that draws in a fixed order. With one, for example a question's number: an
        independent stream that does not depend on what was drawn before.
        """

    def problem_with(self, prompt: Prompt) -> str | None:
        """Why the target cannot take this prompt, or None. Free."""

    def model(self, model: ChatModel, *, role: str) -> ChatModel:
        """The same chat model, billed to this run and recorded in its ledger.

        Roles: proposer, target, judge, and reference for calls of a scorer that it makes once a run and whose replies
        it keeps, such as a judge's own answers.
        """

    def count(self, what: str, n: int = 1) -> None:
        """Count something that the user should hear of at the end, for example ``unparsable replies``."""

    def note(self, text: str) -> None:
        """Say something once in the run's output, for example that no LLM was used."""


class Optimizer(Protocol[Q, A_contra]):
    """Searches prompt space by asking.

    The run calls :meth:`begin` once, then :meth:`ask` and :meth:`tell` in turns, and :meth:`best` at any time after
    ``begin``. All randomness comes from the setup, so equal answers lead to equal questions: that is how a run resumes.
    """

    @property
    def question(self) -> type[Q]:
        """The kind of question it asks: Rate or Duel."""

    def begin(self, setup: Setup, /) -> None:
        """Start afresh.

        Raises:
            UserError: the setup lacks something, for example a prompt to start from.
        """

    def ask(self) -> Sequence[Q]:
        """The next batch, answerable in any order. Empty means converged.

        Where answers come when they come (:class:`Streams`), it is called again while earlier questions are open;
        empty then means: not before one of them is answered.
        """

    def tell(self, answered: Sequence[tuple[Q, A_contra]], /) -> None:
        """Take answers to questions that were asked; may be fewer than asked, and none of them may be scored.

        An answer to a question (by its number) that was answered before replaces the earlier one; only
        :class:`Streams` does that.
        """

    def best(self) -> Prompt:
        """The incumbent. A tie does not displace it."""


class Scorer(Protocol[Q, A_co]):
    """Answers an optimizer's questions."""

    @property
    def question(self) -> type[Q]:
        """The kind of question it answers: Rate or Duel."""

    def answer(self, questions: Sequence[Q], /) -> Iterable[A_co]:
        """One answer per question, in order.

        A generator is recorded answer by answer; a list is recorded at once when it is complete. What cannot be
        scored is NaN (or ``unknown``); an exception ends the run as failed.
        """


class Target(Protocol):
    """What is being prompted."""

    def problem_with(self, prompt: Prompt, /) -> str | None:
        """Why this prompt cannot be run, or None. Free: called for every candidate before it is paid for."""

    def run(self, prompt: Prompt, examples: Sequence[Example], /) -> Sequence[Any]:
        """One output per example, in order. What an output is, its metrics know.

        One that came about but cannot be used is :class:`Failed`; :class:`Missing`, or None, where there is none for
        outside reasons, such as a provider's error after all retries.
        """


@runtime_checkable
class BatchTarget(Protocol):
    """A target that runs many prompts on the same examples faster together than one by one.

    Without it, prompts are run one by one.
    """

    def run_batch(self, prompts: Sequence[Prompt], examples: Sequence[Example], /) -> Iterable[Sequence[Any]]:
        """What ``run`` returns, prompt by prompt, in order."""


@dataclass(frozen=True)
class Failed:
    """An output that came about but cannot be used, as a target returns it; it counts as the metric's worst value.

    Attributes:
        reason: why, in a few words: ``refused``, ``empty``, ``cut at max_tokens = 5``. Coverage counts by what stands
            before the first colon; particulars of this one output stand behind it.
        text: what there is of it, if anything, for the record.
        cut: whether the text is the beginning of an output that would have gone on. A metric may find its answer in it;
            then the output counts as any other.
    """

    reason: str
    text: str | None = None
    cut: bool = False


@dataclass(frozen=True)
class Missing:
    """No output, for outside reasons, as a target returns it: None with a reason. It stays unscored.

    Attributes:
        reason: why, in a few words; coverage counts by what stands before the first colon.
    """

    reason: str


@dataclass(frozen=True)
class Mark:
    """A metric's number for one output, with a reason.

    Attributes:
        value: the number; None where there is none.
        feedback: the reason, in short. Where the output failed, coverage counts by what stands before the first colon,
            as in ``no number: 'quite a lot'``.
        failed: the output came about but cannot be used, for example because no answer can be found in it. It counts
            as the metric's worst value. Without it, a value of None means unscored for outside reasons.
    """

    value: float | None
    feedback: str = ""
    failed: bool = False


FailedRule: TypeAlias = Literal["worst", "leave-out"]
"""What failed outputs count as: the metric's worst value, or nothing."""


class Metric(Protocol):
    """One number per output, higher is better; None where the output could not be scored, a Mark to give a reason.

    An output may be None, and is then marked None; so it is where the target gave :class:`Missing`. Of a
    :class:`Failed` output a metric is given the text if it was cut off, and else None.
    """

    def __call__(self, outputs: Sequence[Any], examples: Sequence[Example], /) -> Sequence[float | Mark | None]: ...


RatingScorer: TypeAlias = Scorer[Rate, Rating]


PreferenceScorer: TypeAlias = Scorer[Duel, Preference]


ScoreFunction: TypeAlias = Callable[[Any], "float | Rating"]
"""Of a prompt's text, or of its parts by name where it has parts."""
