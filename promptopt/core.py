"""The words and the seams of promptopt: values and protocols, no logic, nothing heavy.

An *optimizer* asks questions about prompts, a *scorer* answers them, and a *run* (:mod:`promptopt.run.loop`) brings the
two together. Two kinds of question exist: :class:`Rate` (how good is this prompt?) and :class:`Duel` (which of these
two?). Nothing here is a base class: whatever has the methods, fits.

Shapes are written ``(n_examples,)``. Every number is *higher is better*, but for the objectives of a rating, which are
costs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias, TypeVar, runtime_checkable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array: TypeAlias = NDArray[np.float64]
    Indices: TypeAlias = NDArray[np.intp]

Q = TypeVar("Q")
A_co = TypeVar("A_co", covariant=True)
A_contra = TypeVar("A_contra", contravariant=True)


# ── Prompts, examples ─────────────────────────────────────────────────────────────────────────────────────────────


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


# ── Questions and answers ─────────────────────────────────────────────────────────────────────────────────────────


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


# ── Chat models ───────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Picture:
    """An encoded image, as providers take it."""

    data: bytes = field(repr=False)
    type: Literal["image/png", "image/jpeg", "image/webp", "image/gif"] = "image/png"


@dataclass(frozen=True)
class Message:
    """One turn of a conversation; its pictures stand before its text."""

    role: Literal["system", "user", "assistant"]
    text: str
    pictures: tuple[Picture, ...] = ()


@dataclass(frozen=True)
class Request:
    """What a chat model is asked: a conversation, and how to reply to it.

    Attributes:
        messages: the conversation so far.
        n: how many replies to sample.
        temperature: of the sampling; 0 takes the likeliest reply.
        seed: of the sampling, for models that take one.
        schema: a JSON schema that the replies are to follow. Models that cannot be held to one do without, so a reply
            is still read tolerantly.
        stop: texts before which a reply ends.
        max_tokens: limit on one reply in tokens, where it is below the model's own.
    """

    messages: Sequence[Message]
    n: int = 1
    temperature: float = 1.0
    seed: int | None = None
    schema: Mapping[str, Any] | None = None
    stop: Sequence[str] = ()
    max_tokens: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "messages", tuple(self.messages))

    def limit(self, own: int) -> int:
        """The limit on one reply in tokens, for a model whose own is given."""
        return own if self.max_tokens is None else min(own, self.max_tokens)


@dataclass(frozen=True)
class Usage:
    """What LLM calls cost: calls, tokens in and out, US dollars."""

    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    dollars: float = 0.0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.calls + other.calls,
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.dollars + other.dollars,
        )

    def times(self, factor: float) -> Usage:
        """So many times as much, rounded up."""
        tokens = math.ceil(self.input_tokens * factor), math.ceil(self.output_tokens * factor)
        return Usage(math.ceil(self.calls * factor), *tokens, self.dollars * factor)

    def __neg__(self) -> Usage:
        return Usage(-self.calls, -self.input_tokens, -self.output_tokens, -self.dollars)


@dataclass(frozen=True)
class Reply:
    """One sampled reply. ``finish`` is ``stop`` where the model ended by itself."""

    text: str
    finish: Literal["stop", "length", "refusal"] = "stop"


@dataclass(frozen=True)
class Completion:
    """What one call returned: ``n`` replies and what they cost together."""

    replies: tuple[Reply, ...]
    usage: Usage = Usage(calls=1)


class ChatModel(Protocol):
    """An LLM that proposes, judges or is prompted."""

    @property
    def name(self) -> str:
        """What the record calls it, for example ``openai:gpt-5-mini``."""

    def complete(self, request: Request, /) -> Completion:
        """Sample as many replies as are asked for.

        Raises:
            Unanswered: a transient error outlasted the retries that are made inside.
            Rejected: the provider refused this request for what stands in it.
            ModelError: it refuses whatever it is asked.
        """

    def at_most(self, request: Request, /) -> Usage:
        """The most that :meth:`complete` could cost for this request; the budget is checked against it."""


@dataclass(frozen=True)
class Choice:
    """How likely each of some replies is: log-probabilities in nats, in the order asked, and what it cost to know.

    ``tokens`` says how many tokens each of them has, where the model tells.
    """

    log_probabilities: tuple[float, ...]
    usage: Usage = Usage(calls=1)
    tokens: tuple[int, ...] = ()


@runtime_checkable
class Chooses(Protocol):
    """A chat model that can say how likely given replies are, without writing one.

    Without it, it cannot judge with ``read = "probabilities"``.
    """

    def choose(self, messages: Sequence[Message], options: Sequence[str], /) -> Choice:
        """The log-probability that a reply to a conversation begins with each of these texts.

        Raises:
            ModelError: as ``complete``.
        """

    def at_most_to_choose(self, messages: Sequence[Message], options: Sequence[str], /) -> Usage:
        """The most that :meth:`choose` could cost with these arguments; the budget is checked against it."""


@runtime_checkable
class HasIdentity(Protocol):
    """A chat model that says what its replies depend on, so that they can be looked up instead of bought again.

    Without it, or with None, replies are never cached.
    """

    @property
    def identity(self) -> Mapping[str, Any] | None:
        """What besides the name makes replies differ, as JSON values: ``max_tokens``, ``base_url``, weights."""


@runtime_checkable
class HasNotes(Protocol):
    """A chat model that has something to tell the user before its first call, for example that no price is known.

    Without it nothing is said.
    """

    @property
    def notes(self) -> Sequence[str]:
        """Whole sentences or the like; each is shown once a run."""


@runtime_checkable
class Expects(Protocol):
    """A chat model that can say what a call will cost about, for estimates; without it, that is 100 tokens a reply."""

    def expected(self, request: Request, /) -> Usage:
        """A guess. Sends nothing."""


@runtime_checkable
class ChecksKey(Protocol):
    """A chat model, or a target with a model of its own, that knows whether the key for its first call is there.

    Without it, a missing key comes out at the first call, when the data and the other models are loaded.
    """

    def check_key(self) -> object:
        """Sends nothing; what it returns is not looked at.

        Raises:
            UserError: there is no key, or it cannot be one.
        """


class Embedder(Protocol):
    """Turns texts into vectors, so that texts of like meaning lie close."""

    @property
    def name(self) -> str:
        """What makes its vectors what they are; part of the key under which they are cached."""

    def embed(self, texts: Sequence[str], /) -> Array:
        """``(n_texts, d)`` float64, one row per text, each of length 1. What a row is does not depend on the others."""


# ── The seams ─────────────────────────────────────────────────────────────────────────────────────────────────────


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


@runtime_checkable
class KeepsPictures(Protocol):
    """A setup that keeps pictures with the run: in its folder, or in memory where it has none. Safe from many threads.

    Without it, a picture has a name, and lies nowhere.
    """

    def keep(self, picture: Picture, /) -> str:
        """Keep a picture, and return its name: what ledger, cases and report have of it, ``pictures/HASH.png``."""

    def picture(self, name: str | None, /) -> Picture | None:
        """The picture of a name, such as a :attr:`Case.output`; None where it is none, or is not there."""


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


@runtime_checkable
class HasWorst(Protocol):
    """A metric that says its worst value, which failed outputs count as; no value is below it.

    A metric without it, or with None, is taken to give 0 or more, and failed outputs count as 0.
    """

    @property
    def worst(self) -> float | None: ...


@runtime_checkable
class HasTimeLimit(Protocol):
    """A metric that says how many seconds it may take for one output; infinity if it keeps to a limit of its own.

    Without it that is a minute. What takes longer has failed.
    """

    @property
    def time_limit(self) -> float: ...


@runtime_checkable
class ReadsCut(Protocol):
    """A metric that says whether it can find its answer in an output that was cut off.

    Without it, it is given the text of such an output. With False it is given None, and the output counts as failed.
    """

    @property
    def reads_cut(self) -> bool: ...


@runtime_checkable
class HasClasses(Protocol):
    """A metric that knows which class each number of an output stands for, so that the record can name the likeliest.

    Without it, the record of an example has the numbers, or how many there are. A target may have it too: its classes
    are then those of the metric where the data set names none.
    """

    @property
    def classes(self) -> Sequence[str]:
        """The class names, in the order of a target's scores."""


@runtime_checkable
class HasObjectives(Protocol):
    """A scorer, or a score function, whose ratings hold objectives; lower is better.

    Without it, the objectives that the run knows by itself are all that a recipe can name: prompt tokens, seconds and,
    where the target's model has a price, dollars.
    """

    @property
    def objectives(self) -> Collection[str]:
        """Their names."""


@runtime_checkable
class Measures(Protocol):
    """A metric that measures more of an output than its value, such as how long it is; lower is better.

    Without it, the recipe can name none of this metric.
    """

    @property
    def objectives(self) -> Collection[str]:
        """The names of what it measures."""

    def measure(self, outputs: Sequence[Any], examples: Sequence[Example], /) -> Mapping[str, Sequence[float | None]]:
        """By name, one number for each output, or None; asked only for outputs that came about.

        Of a :class:`Failed` output it is given the text, where there is one.
        """


@runtime_checkable
class CountsTokens(Protocol):
    """A target, or its chat model, that can tell how many tokens a text has; without it, four bytes count as one."""

    def count_tokens(self, text: str, /) -> int:
        """The tokens of a text by itself, without those that mark its beginning or end. Free."""


@runtime_checkable
class InWords(Protocol):
    """An output that is no text, and says what it is in one, for the record and for the LMs of optimizers.

    Without it, texts, numbers, dicts and lists are told as they are, and of other objects the name of their type.
    """

    @property
    def in_words(self) -> str: ...


@runtime_checkable
class HasLogProbabilities(Protocol):
    """An output, a class's name, that knows how likely each class is; without it, an output is a name or a row."""

    @property
    def log_probabilities(self) -> Mapping[str, float]:
        """By class, in nats; those of all classes together are 1."""


@runtime_checkable
class TakesParts(Protocol):
    """A target that takes prompts of several parts (:mod:`promptopt.parts`).

    Without it, a recipe whose start has parts is refused before anything is spent.
    """

    @property
    def takes_parts(self) -> Collection[str] | None:
        """The names that parts may have; None for any."""


@runtime_checkable
class TakesDemonstrations(Protocol):
    """A target that reads the part ``demonstrations`` as ids of training examples (:mod:`promptopt.demonstrations`).

    It shows these, and never the one that is asked. Without it, or with False, that part is a text like any other.
    """

    @property
    def takes_demonstrations(self) -> bool: ...


@runtime_checkable
class HasStart(Protocol):
    """A target that knows the prompt that is used today, such as a program with instructions of its own.

    Without it, or with None, a run has to be given a prompt to start from.
    """

    @property
    def start(self) -> str | None:
        """The prompt's text, of parts where it has some."""


@runtime_checkable
class HasMetric(Protocol):
    """A target that says what its outputs are judged by where the user does not; without it, the user has to."""

    @property
    def metric(self) -> Any:
        """A metric as a recipe has it: a name, a table, or the metric itself."""


@runtime_checkable
class HasTiebreak(Protocol):
    """A target that says which second metric decides between equal ratings; without it, and the user's word, none."""

    @property
    def tiebreak(self) -> Any:
        """As :attr:`HasMetric.metric`."""


@runtime_checkable
class HasRecord(Protocol):
    """A target that tells the run's record what it is, so that a run is never resumed with another one.

    Without it, or with nothing in it, a target that has changed since (other weights, say) goes unnoticed.
    """

    @property
    def record(self) -> Mapping[str, Any]:
        """Facts as JSON values: model, weights, preprocessing."""


@runtime_checkable
class Embeds(Protocol):
    """What of an embedder the optimizer ``bayes`` needs; a target may have it too.

    Without it, prompts for the target are compared by their wording.
    """

    def embed(self, texts: Sequence[str], /) -> Array:
        """``(n_texts, d)``, each row of length 1."""


@runtime_checkable
class HasClassEmbeddings(Protocol):
    """A target that compares images with an embedding of each class, as CLIP does.

    Without it, an optimizer that weighs how alike a prompt makes the classes takes them to be unlike.
    """

    def class_embeddings(self, prompt: Prompt, /) -> Array:
        """``(n_classes, dim)``, each row of length 1."""


@runtime_checkable
class HasViews(Protocol):
    """A target that knows changed copies of an example, such as turned images, for which the label stays the same.

    Without it, each example is tried as it is.
    """

    def view(self, example: Example, number: int, /) -> Example:
        """The copy of this number, from 1; equal numbers give equal copies."""


@runtime_checkable
class Begins(Protocol):
    """A part that wants the run's setup: random streams, billed models, counters.

    Optimizers and proposers must have it. Without it, a part draws nothing at random, and calls no model that the run
    pays for and writes down.
    """

    def begin(self, setup: Setup, /) -> None: ...


class Prompted(Protocol):
    """What is known of a run's prompts before it begins; a setup knows it too."""

    @property
    def start(self) -> Sequence[Prompt]:
        """As :attr:`Setup.start`."""

    def problem_with(self, prompt: Prompt) -> str | None:
        """As :meth:`Setup.problem_with`."""


@runtime_checkable
class Checks(Protocol):
    """An optimizer, proposer or pool that can tell, before anything is spent, that it does not suit the prompts.

    Without it, it is taken to suit every prompt.
    """

    def check(self, run: Prompted, /) -> None:
        """Free. Called once before the run, from Python and on the command line, also by ``--check``.

        Raises:
            UserError: it does not suit; the message says what to give instead.
        """


@runtime_checkable
class Closes(Protocol):
    """A part that holds on to something, such as a page or a thread; without it, nothing is done at the end.

    A scorer is closed once, after the run's last question to it, and an optimizer when the search has ended, however it
    did; its incumbent is asked for after that, too. So is the one that an optimizer has as its ``optimizer``.
    """

    def close(self) -> None: ...


@runtime_checkable
class HasPresentation(Protocol):
    """A scorer some of whose options only say how people are asked, such as the port of a page.

    Without it, a run whose scorer has any other option than before is a run with another recipe, and is not taken up.
    """

    @property
    def presentation(self) -> Collection[str]:
        """The names of those options."""


@runtime_checkable
class HasTarget(Protocol):
    """A scorer that gives prompts to a target; a transfer's target is recorded if it has :class:`HasRecord`.

    Without it, nothing is recorded of a transfer's target.
    """

    @property
    def target(self) -> Target: ...


@runtime_checkable
class HasPrompts(Protocol):
    """An optimizer that knows from the start which prompts it chooses among.

    Without it, a scorer that :class:`Calibrates` is offered none.
    """

    def prompts(self) -> Sequence[Prompt]: ...


@runtime_checkable
class BeginsAlone(Protocol):
    """An optimizer that can begin without a starting prompt, for example with the training examples.

    Without it, or with False, a run has to be given a prompt to start from.
    """

    @property
    def begins_alone(self) -> bool: ...


@runtime_checkable
class HasQueries(Protocol):
    """A pool whose texts answer queries; only answers to the same query meet in a duel.

    Without it, or with no queries, its texts are prompts like any other.
    """

    @property
    def queries(self) -> Sequence[str]:
        """What is answered."""

    def query_of(self, text: str, /) -> str | None:
        """The query that a text of this pool answers."""


@runtime_checkable
class KnowsParts(Protocol):
    """An optimizer that takes prompts of several parts as they are and changes the parts itself.

    Without it, or with False, it is given the text of one part at a time (``part-by-part``), as its start and in
    :meth:`Setup.problem_with`.
    """

    @property
    def knows_parts(self) -> bool: ...


@runtime_checkable
class HasOptimizer(Protocol):
    """An optimizer around another one, such as racing. What is put around optimizers goes around the inner one."""

    @property
    def optimizer(self) -> Optimizer[Any, Any]: ...

    @optimizer.setter
    def optimizer(self, optimizer: Optimizer[Any, Any], /) -> None: ...


@runtime_checkable
class OfPart(Protocol):
    """A setup whose texts are one part of the prompts; the other parts stay as they are.

    Without it, texts are whole prompts.
    """

    @property
    def part(self) -> str:
        """The name of the part."""

    @property
    def others(self) -> Mapping[str, str]:
        """The other parts by name; none where the prompts are one text."""

    def whole(self, text: str, /) -> str:
        """The prompt with this text as that part."""


@runtime_checkable
class Shortens(Protocol):
    """An optimizer whose prompts hold phrases that came in by chance; without it, none of its answer is taken away."""

    @property
    def shortens(self) -> bool:
        """Whether some questions are kept back to drop from the answer what does not pay."""


@runtime_checkable
class HasVocabulary(Protocol):
    """An optimizer that puts prompts together from phrases, which may be dropped from its answer again.

    Without it, an answer is shortened by what its text alone shows: sentences, lines, clauses.
    """

    @property
    def vocabulary(self) -> Sequence[str]:
        """The phrases of the run, once it has begun."""


@runtime_checkable
class Calibrates(Protocol):
    """A scorer that wants ratings of some prompts before its first answer, for example to know how far they spread.

    The run has them made once and writes them down apart, as the stage ``calibration``. They are no questions of the
    budget (LLM calls are paid for as ever), and the optimizer never sees them. Without it, none are made.
    """

    @property
    def scorer(self) -> Scorer[Rate, Rating]:
        """What gives the ratings."""

    def calibration(self, prompts: Sequence[Prompt], /) -> Sequence[Rate]:
        """The ratings that it wants, given the prompts that the optimizer knows; may be none."""

    def calibrate(self, rated: Sequence[tuple[Rate, Rating]], /) -> None:
        """Take them."""


@runtime_checkable
class Remembers(Protocol):
    """A scorer whose later answers depend on its earlier ones, such as one that rates each prompt once.

    Without it, a resumed run's scorer knows nothing of the answers from before.
    """

    def remember(self, question: Any, answer: Any, /) -> None:
        """Called for every answer that was recorded before the run was resumed, in the order they were given."""


@runtime_checkable
class Weighs(Protocol):
    """A scorer that knows how much of a target's work is in its answers; by it, the run keeps back for the verdict.

    Without it, a rating counts as the share of the training examples that it is asked on, and a duel as two ratings.
    """

    def weight(self, question: Any, answer: Any, /) -> float:
        """In ratings of one prompt on all training examples."""


@runtime_checkable
class HasRatings(Protocol):
    """An optimizer that puts ratings on the whole training split together from ratings on parts of it.

    Without it, the run knows the ratings alone that were asked on the whole split.
    """

    def ratings(self) -> Mapping[Prompt, Rating]: ...


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


@runtime_checkable
class HasArchive(Protocol):
    """An optimizer that keeps the best prompt of each kind; without it, a run writes no archive."""

    def archive(self) -> Archive:
        """As it stands; may be asked for at any time after ``begin``."""


@dataclass(frozen=True)
class Belief:
    """What an optimizer that gets no ratings thinks of its incumbent.

    Attributes:
        confidence: the probability, in [0, 1], that no other prompt it knows is better.
        questions: how many more answers are likely to matter; None where it cannot say.
    """

    confidence: float
    questions: int | None = None


@runtime_checkable
class HasBelief(Protocol):
    """An optimizer that can say how sure it is of its incumbent; without it, the user is told no probability."""

    def belief(self) -> Belief: ...


@runtime_checkable
class Streams(Protocol):
    """A scorer whose answers come when they come, as people's do.

    The run keeps ``ahead`` questions open and asks on while others are still open, so that nobody waits for anybody.
    Every question is opened once; ``answer`` of the same scorer is for those who need a batch at a time. Without it,
    each batch is answered whole before the next is asked for.
    """

    @property
    def ahead(self) -> int:
        """How many questions to keep open; may change between calls."""

    def open(self, questions: Sequence[Any], record: Callable[[Any, Any], None], /) -> None:
        """Take questions to be answered, without waiting for answers.

        Args:
            record: ``record(question, answer)`` puts an answer on the disk and hands it to the run. It may be called
                from any thread, and returns before whoever answered is told that the answer is kept. A second answer
                to the same question replaces the first.
        """

    def wait(self) -> bool:
        """Return True once an answer was recorded since the last call, False if nobody will answer any more.

        Raises:
            BudgetExhausted, ModelError: an output that people were to compare could not be bought.
        """

    def remember(self, question: Any, answer: Any, /) -> None:
        """Called for every answer that was recorded before the run was resumed, in the order they were given."""

    def watch(self, progress: Any, /) -> None:
        """Called with a :class:`promptopt.run.recorder.Progress` whenever the optimizer has learnt something."""

    def close(self) -> None:
        """The search is over: nobody is asked any more."""


RatingScorer: TypeAlias = Scorer[Rate, Rating]
PreferenceScorer: TypeAlias = Scorer[Duel, Preference]
ScoreFunction: TypeAlias = Callable[[Any], "float | Rating"]
"""Of a prompt's text, or of its parts by name where it has parts."""
