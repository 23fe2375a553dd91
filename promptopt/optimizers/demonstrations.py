"""Demonstrations: which training examples are shown before the input, and in which order [Khattab2024].

Omar Khattab et al., *DSPy: Compiling Declarative Language Model Calls into Self-Improving Pipelines*, ICLR 2024, arXiv
2310.03714: sets at random, of which the best is kept, and *bootstrapped* ones, which show outputs of the target's own
that were right, with their reasoning, in place of labels. That their order can make the difference is from Yao Lu et
al., *Fantastically Ordered Prompts and Where to Find Them*, ACL 2022, arXiv 2104.08786 [Lu2022].

::

    rate the start; bootstrap: keep its outputs that are right
    rate random sets of k demonstrations, each in a random order
    exchange: from the best set on, batch by batch and in random order, until no change is left that was not tried:
        another demonstration in the place of one, two that change places, or one more while there are fewer than k
        where one of the batch is better, go on from the best of it

Batches are raced (:mod:`.racing`): rated on few examples first, and dropped where they are clearly worse.

============ ============================= ============== ==========================================================
parameter    DSPy 3.4                      default here   why it differs
============ ============================= ============== ==========================================================
k            1 to 4 bootstrapped, at       4              labels beside outputs with reasoning teach to leave it out,
             random, filled up to 16              so a set has the ones or the others
             with labels
sets         16, and 3 fixed ones          16             the fixed ones are the start, without demonstrations and with
                                                          labels alone
bootstrap    always                        False          it has to be paid for in longer prompts
threshold    any value that is not 0       1.0            the value of a right answer in metrics of this package
minibatch    all examples                  10             racing
search       random                        random         exchange is ours
============ ============================= ============== ==========================================================

Another difference: DSPy's teacher, whose outputs are kept, is shown labels by default, ours is the starting prompt as
it is. Its prompt may hold demonstrations, of which no example is shown to itself, there or here.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Literal

from ..checks import at_least
from ..core import Example, HasClasses, Prompt, Prompted, Rate, Rating, Setup, Target
from ..demonstrations import PART, Demonstration, of_prompt
from ..demonstrations import text_of as listed
from ..errors import UserError
from ..parts import parts_of, text_of
from .racing import Racing
from .steps import Ratings, RatingSearch, Search

if TYPE_CHECKING:
    import numpy as np

__all__ = ["Demonstrations", "Shown", "check_part", "with_parts"]

CUT = "…"
"""The end of an output that is longer than what a rating tells of it."""
ATTEMPTS = 20  # draws for each set wanted, before giving up


class Demonstrations(Racing):
    """Searches the part ``demonstrations``: sets at random, or an exchange of one demonstration after the other.

    Args:
        examples: the training examples.
        k: how many are shown.
        search: ``random`` sets alone, or an ``exchange`` from the best of them on.
        sets: how many random sets.
        bootstrap: show outputs of the target's own in place of labels: those of the starting prompts that are right.
            Where there are fewer than ``k``, fewer are shown; where there are none, labels.
        threshold: the metric's value from which on an output is right.
        batch: how many sets are rated side by side.
        minibatch: on how many examples they are rated first, see :class:`~promptopt.optimizers.racing.Racing`.
        frozen: parts that are not changed; the run's.
        target: the run's. The outputs of one that chooses among labels are these labels, and so there is nothing of its
            own to show.

    Raises:
        UserError: a number is out of range, or there are not more examples than are to be shown.
    """

    knows_parts = True

    def __init__(
        self,
        *,
        examples: Sequence[Example],
        k: int = 4,
        search: Literal["random", "exchange"] = "random",
        sets: int = 16,
        bootstrap: bool = False,
        threshold: float = 1.0,
        batch: int = 8,
        minibatch: int = 10,
        frozen: Collection[str] = (),
        target: Target | None = None,
    ) -> None:
        at_least(1, sets=sets, batch=batch)
        shown = Shown(examples, k=k, threshold=threshold, bootstrap=bootstrap, target=target)
        sets_ = Sets(shown, sets=sets, batch=batch, exchange=search == "exchange", frozen=frozen)
        super().__init__(optimizer=sets_, examples=examples, minibatch=minibatch)


class Sets(RatingSearch):
    """The search, whose every batch is raced. Arguments as of :class:`Demonstrations`."""

    knows_parts = True

    def __init__(self, shown: Shown, *, sets: int, batch: int, exchange: bool, frozen: Collection[str]) -> None:
        self.shown = shown
        self.sets, self.batch, self.exchange = sets, batch, exchange
        self.frozen = frozen

    def check(self, run: Prompted, /) -> None:
        """Whether the starting prompts have the part, and the target can show examples there.

        Raises:
            UserError: they have not, it is frozen, or it cannot.
        """
        check_part(run, PART, frozen=self.frozen)
        self.shown.check(run)

    def begin(self, setup: Setup, /) -> None:
        """Start afresh.

        Raises:
            UserError: as :meth:`check`.
        """
        self.check(setup)
        self._setup = setup
        self._ratings = Ratings(setup.start)
        self._rng = setup.rng()
        self._search = self._sets()

    def _sets(self) -> Search:
        yield [Rate(prompt, cases=self.shown.bootstrap) for prompt in self._setup.start]
        starts = self._ratings.ranked(self._setup.start)
        self._of = self.shown.among([self._ratings[prompt] for prompt in starts], setup=self._setup)
        base = self._ratings.best
        for batch in self._batches(islice(self.shown.draw(self._of, self._rng), self.sets), base, step="random"):
            yield batch
        while self.exchange:
            best = self._ratings.best
            for batch in self._batches(self._changes(of_prompt(best.text)), best, step="exchange"):
                yield batch
                if self._ratings.best != best:
                    break
            else:
                return

    def _batches(self, sets: Iterable[Sequence[Demonstration]], base: Prompt, *, step: str) -> Iterator[list[Rate]]:
        """Questions about a prompt with other demonstrations, those that the target can take and that are new."""
        origin = {"step": step, "parents": [base.text]}
        prompts = (Prompt(with_parts(base.text, {PART: listed(one)}), origin) for one in sets)
        new = (p for p in prompts if p not in self._ratings and self._setup.problem_with(p) is None)
        while batch := list(dict.fromkeys(islice(new, self.batch))):
            yield [Rate(prompt) for prompt in batch]

    def _changes(self, now: Sequence[Demonstration]) -> Iterator[list[Demonstration]]:
        """The sets that differ from one in a single change, in random order."""
        shown, n = {one.example for one in now}, len(now)
        others = [one for one in self._of if one.example not in shown]
        changed = [[*now[:i], other, *now[i + 1 :]] for i in range(n) for other in others]
        changed += [[*now[:i], now[j], *now[i + 1 : j], now[i], *now[j + 1 :]] for j in range(n) for i in range(j)]
        if n < self.shown.k:
            changed += [[*now[:i], other, *now[i:]] for i in range(n + 1) for other in others]
        return (changed[place] for place in self._rng.permutation(len(changed)))


# ── What is shared with the joint search of instruction and demonstrations ────────────────────────────────────────


class Shown:
    """What may be shown, and sets of it at random.

    Args:
        examples, k, threshold, bootstrap, target: as of :class:`Demonstrations`.

    Raises:
        UserError: there are not more examples than are to be shown.
    """

    def __init__(
        self, examples: Sequence[Example], *, k: int, threshold: float, bootstrap: bool, target: Target | None
    ) -> None:
        at_least(1, k=k)
        if k >= len(examples):
            raise UserError(
                f"k is {k}, but there are {len(examples)} training examples, and the one that is asked cannot be "
                "shown. Ask for fewer."
            )
        self.k, self.threshold = k, threshold
        self.bootstrap = bootstrap
        self.labelled = [Demonstration(example.id) for example in examples]
        self._chooses = isinstance(target, HasClasses) and bool(target.classes)

    def check(self, run: Prompted) -> None:
        """Whether the target can show examples.

        Raises:
            UserError: it cannot.
        """
        for prompt in run.start:
            shows = Prompt(with_parts(prompt.text, {PART: listed(self.labelled[: self.k])}))
            if problem := run.problem_with(shows):
                raise UserError(f"this search cannot show demonstrations: {problem}")

    def among(self, rated: Iterable[Rating], *, setup: Setup) -> Sequence[Demonstration]:
        """What sets are drawn from: outputs that were right if these are wanted and there are any, or else labels.

        Args:
            rated: with cases, where outputs are wanted; of two right outputs of an example the first is kept.
        """
        own = self._own(rated) if self.bootstrap else {}
        if self.bootstrap and not own:
            why = "the target chooses among labels" if self._chooses else "none was right and whole"
            setup.note(f"No output of the target's own could be shown, since {why}; demonstrations have labels.")
        return [Demonstration(name, output) for name, output in own.items()] or self.labelled

    def draw(self, of: Sequence[Demonstration], rng: np.random.Generator) -> Iterator[list[Demonstration]]:
        """Different sets in random order; ends where no new one is found."""
        seen: set[tuple[int, ...]] = set()
        failures = 0
        while failures < ATTEMPTS:
            drawn = tuple(rng.permutation(len(of))[: self.k].tolist())
            failures = failures + 1 if drawn in seen else 0
            if drawn not in seen:
                seen.add(drawn)
                yield [of[i] for i in drawn]

    def _own(self, rated: Iterable[Rating]) -> dict[str, str]:
        """Outputs that are right and known as a whole, by example."""
        own: dict[str, str] = {}
        for case in (case for rating in rated for case in rating.cases if not self._chooses):
            said = case.output or ""
            if case.value >= self.threshold and said.strip() and not said.endswith(CUT):
                own.setdefault(case.example, said)
        return own


def check_part(run: Prompted, part: str, *, frozen: Collection[str]) -> None:
    """Whether the starting prompts have a part that may be changed.

    Raises:
        UserError: they have not.
    """
    if part not in parts_of(run.start[0].text):
        raise UserError(
            f"this search changes the part {part}, which the start has not; give start as a table, for example "
            'start = {instruction = "...", demonstrations = ""}.'
        )
    if part in frozen:
        raise UserError(f"this search changes the part {part}, which is frozen; leave it out of frozen.")


def with_parts(prompt: str, parts: Mapping[str, str]) -> str:
    """A prompt with other texts as some of its parts."""
    return text_of({**parts_of(prompt), **parts})
