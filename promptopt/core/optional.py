"""What parts may have beside what their kind asks for. Whatever has such a member, is heard; nothing has to."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from .chat import Request, Usage
from .seams import Optimizer, Scorer, Setup, Target
from .values import Archive, Belief, Example, Picture, Prompt, Rate, Rating

if TYPE_CHECKING:
    from .values import Array


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
class KeepsPictures(Protocol):
    """A setup that keeps pictures with the run: in its folder, or in memory where it has none. Safe from many threads.

    Without it, a picture has a name, and lies nowhere.
    """

    def keep(self, picture: Picture, /) -> str:
        """Keep a picture, and return its name: what ledger, cases and report have of it, ``pictures/HASH.png``."""

    def picture(self, name: str | None, /) -> Picture | None:
        """The picture of a name, such as a :attr:`Case.output`; None where it is none, or is not there."""


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


@runtime_checkable
class HasArchive(Protocol):
    """An optimizer that keeps the best prompt of each kind; without it, a run writes no archive."""

    def archive(self) -> Archive:
        """As it stands; may be asked for at any time after ``begin``."""


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
