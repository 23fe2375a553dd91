"""Racing: rate on minibatches, and stop early on clearly worse prompts.

Oden Maron and Andrew Moore, *Hoeffding Races*, NIPS 1993, and Mauro Birattari et al., *A Racing Algorithm for
Configuring Metaheuristics*, GECCO 2002 (F-Race). We differ from both in the test: bounds for any bounded score decide
nothing on the few dozen examples of a prompt search, so prompts are compared two by two on the examples that both were
rated on, by a paired rank test. And what was dropped is given an estimate, since optimizers learn from bad prompts too.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import count, takewhile
from typing import TYPE_CHECKING

import numpy as np

from ..checks import at_least, check_argument
from ..core import BeginsAlone, Case, Coverage, Example, Optimizer, Prompt, Prompted, Rate, Rating, Setup
from ..errors import UserError
from ..stats import mean as average
from ..vocabulary import check

if TYPE_CHECKING:
    from ..core import Array, Indices

STREAM = int.from_bytes(b"race")
"""Key of the random stream, so that those of the inner optimizer are left alone."""
IDLE_BATCHES = 1_000  # an inner optimizer that asks only what it knows, this often in a row, has converged
DECIMALS = 6  # of a tiebreak
REASONS = 5  # so many different lines of feedback are passed on
UNPAIRED = "Racing needs values per example and this run keeps none, so every prompt was rated on all examples."


class Racing:
    """Lets the prompts of another optimizer race against each other and its incumbent.

    A batch of the inner optimizer is rated on a first minibatch of the training examples, then on as many more as it
    has seen, and so on until all are used. Before each further minibatch every prompt is compared with the leader (the
    highest mean on the examples so far) and dropped if it is clearly worse by a one-sided test of the paired
    differences at the level ``error / (looks x rivals)``: the exact sign test where all differences have one size, as
    those of accuracy do, and Wilcoxon's signed-rank test otherwise, which takes them to be symmetric where neither
    prompt is better. By that correction the best prompt of a batch is dropped with a probability of at most ``error``,
    over all looks and rivals together. The examples come in an order that is drawn anew for each batch.

    The inner optimizer is told one rating a prompt. For one that finished it is the rating on all examples, the same as
    without racing. For one that was dropped it is ``rating(leader) + mean difference to the leader`` over the examples
    that both were rated on: an estimate of the rating that it would have had, and always below the leader's. A mean
    over the easy half of the examples could come out above. Its ``per_example`` is NaN where it was not rated,
    and its coverage is that of the examples it was rated on.

    Each minibatch is a question of its own, so a budget of questions counts minibatches, several to a prompt. What was
    saved is counted as ``examples not rated: race lost``. A scorer that gives no values per example leaves nothing to
    compare; then nothing is dropped, and a note says so.

    Args:
        optimizer: what searches; it must ask for ratings. Questions on examples of its own choice are passed on as they
            are.
        examples: the training examples.
        minibatch: size of the first minibatch. The second is as large, each further one as large as all before it.
        error: the probability with which the best of a batch may be dropped, in (0, 1).

    Raises:
        UserError: an option is out of range, the optimizer asks duels, or two examples share an id.
    """

    question = Rate

    def __init__(
        self,
        *,
        optimizer: Optimizer[Rate, Rating],
        examples: Sequence[Example],
        minibatch: int = 10,
        error: float = 0.05,
    ) -> None:
        at_least(1, minibatch=minibatch)
        check_argument("error", error, allowed="a probability between 0 and 1", holds=0 < error < 1)
        if optimizer.question is not Rate:
            raise UserError(f"{type(optimizer).__name__} asks duels; racing needs an optimizer that asks for ratings.")
        self._ids = tuple(example.id for example in examples)
        if not self._ids or len(set(self._ids)) < len(self._ids):
            raise UserError("racing needs training examples, each with an id of its own.")
        self.optimizer = optimizer
        self.minibatch = minibatch
        self.error = error

    def check(self, run: Prompted, /) -> None:
        """Whether the inner optimizer suits the prompts.

        Raises:
            UserError: it does not.
        """
        check(self.optimizer, run)

    def begin(self, setup: Setup, /) -> None:
        """Start afresh."""
        self._setup = setup
        self._told: dict[Prompt, Rating] = {}
        self._whole: dict[Prompt, Rating] = {}
        self._batch: Sequence[Rate] = ()
        self._race: Race | None = None
        self.optimizer.begin(setup)

    def ask(self) -> Sequence[Rate]:
        """The next minibatch for all prompts that are still in the race; the inner optimizer's next batch after it."""
        for _ in range(IDLE_BATCHES):
            if self._race:
                return self._race.questions()
            self._batch = self.optimizer.ask()
            if not self._batch or any(question.on for question in self._batch):
                return self._batch
            if new := [q.prompt for q in self._batch if q.prompt not in self._told]:
                self._race = self._start(list(dict.fromkeys(new)))
            else:
                self._tell()
        return []

    def tell(self, answered: Sequence[tuple[Rate, Rating]], /) -> None:
        """Take ratings on the minibatch; the inner optimizer hears of them at the end of the race.

        Raises:
            UserError: the scorer does not rate on the examples that it is asked about.
        """
        if self._race is None:
            self.optimizer.tell(answered)
            return
        self._race.take({question.prompt: rating for question, rating in answered})
        if self._race.over:
            self._finish(self._race)
            self._race = None
            self._tell()

    @property
    def begins_alone(self) -> bool:
        """Whether the inner optimizer needs no starting prompt."""
        return isinstance(self.optimizer, BeginsAlone) and self.optimizer.begins_alone

    def best(self) -> Prompt:
        """The inner optimizer's incumbent; never a prompt that was dropped."""
        return self.optimizer.best()

    def ratings(self) -> Mapping[Prompt, Rating]:
        """Ratings of the prompts that were rated on all training examples, put together from their minibatches."""
        return self._whole

    # ── From race to race ─────────────────────────────────────────────────────────────────────────────────────────

    def _start(self, prompts: Sequence[Prompt]) -> Race:
        runners, incumbent = [Runner(prompt, len(self._ids)) for prompt in prompts], self._incumbent()
        order = self._setup.rng(STREAM, len(self._told)).permutation(len(self._ids))
        alone = len(prompts) == 1 and incumbent is None
        ends = [] if alone else takewhile(lambda n: n < len(order), (self.minibatch * 2**i for i in count()))
        parts = [np.sort(part) for part in np.split(order, [*ends])]
        cases = any(question.cases for question in self._batch)
        return Race(runners, incumbent=incumbent, ids=self._ids, parts=parts, error=self.error, cases=cases)

    def _tell(self) -> None:
        """Tell the inner optimizer of its batch; prompts whose questions stayed unanswered are left out."""
        self.optimizer.tell([(q, self._told[q.prompt]) for q in self._batch if q.prompt in self._told])

    def _incumbent(self) -> Runner | None:
        rating = self._whole.get(self.optimizer.best())
        if rating is None or rating.per_example is None:
            return None
        return Runner(self.optimizer.best(), len(self._ids), values=rating.per_example)

    def _finish(self, race: Race) -> None:
        whole = {r.prompt: r.rating(average(r.values), per_example=race.paired) for r in race.running}
        self._whole |= whole
        self._told |= whole
        self._told |= {r.prompt: r.rating(value, per_example=True) for r, value in race.estimates().items()}
        if race.lost:
            self._setup.count("prompts dropped: race lost", len(race.lost))
            self._setup.count("examples not rated: race lost", sum(r.spared for r, _ in race.lost))
        if not race.paired and len(self._ids) > self.minibatch:
            self._setup.note(UNPAIRED)


# ── One race ──────────────────────────────────────────────────────────────────────────────────────────────────────


class Runner:
    """A prompt in a race.

    Attributes:
        values: ``(n_examples,)``, in the order of the training examples; NaN where there is none.
        spared: examples that it was not rated on.
    """

    def __init__(self, prompt: Prompt, n_examples: int, *, values: Array | None = None) -> None:
        self.prompt = prompt
        self.values = np.full(n_examples, math.nan) if values is None else values
        self.spared = n_examples
        self._tiebreaks: list[tuple[float, int]] = []
        self._feedback: dict[str, None] = {}
        self._coverage: list[Coverage | None] = []
        self._cases: dict[int, Case] = {}

    def take(self, part: Indices, rating: Rating) -> bool:
        """Take a rating on some examples; whether it has a value for each of them.

        Raises:
            UserError: it was made on others.
        """
        given = rating.per_example
        if given is not None and len(given) != len(part):
            raise UserError(
                f"The search asked for a rating on {len(part)} examples and got {len(given)} values. It needs a scorer "
                "that rates on the examples it is asked about, as a target with data and a metric does."
            )
        self.values[part] = rating.value if given is None else given
        self.spared -= len(part)
        self._tiebreaks.append((rating.tiebreak, len(part)))
        self._feedback |= dict.fromkeys(rating.feedback.splitlines())
        self._coverage.append(rating.coverage)
        self._cases |= dict(zip(part.tolist(), rating.cases, strict=False))
        return given is not None or math.isnan(rating.value)

    def rating(self, value: float, *, per_example: bool) -> Rating:
        """What the inner optimizer is told."""
        total = sum(tiebreak * n for tiebreak, n in self._tiebreaks)
        tiebreak = round(total / sum(n for _, n in self._tiebreaks), DECIMALS)
        return Rating(
            value,
            tiebreak,
            self.values if per_example else None,
            "\n".join([*self._feedback][:REASONS]),
            _together(self._coverage),
            tuple(self._cases[place] for place in sorted(self._cases)),
        )


class Race:
    """Prompts that are rated on the same minibatches, one after the other.

    Args:
        runners: the prompts; none is rated yet.
        incumbent: a prompt that is rated on all examples, and can lead but not be dropped.
        ids: of the examples.
        parts: the minibatches, as places among the examples.
        error: see :class:`Racing`.
        cases: whether ratings are to tell what happened on each example.

    Attributes:
        running: those not dropped.
        lost: those dropped, each with the leader of that moment, in the order they were dropped.
        paired: whether all ratings had values per example.
    """

    def __init__(
        self,
        runners: Sequence[Runner],
        *,
        incumbent: Runner | None,
        ids: Sequence[str],
        parts: Sequence[Indices],
        error: float,
        cases: bool = False,
    ) -> None:
        self._cases = cases
        self.running = list(runners)
        self.lost: list[tuple[Runner, Runner]] = []
        self.paired = True
        self._incumbent = [incumbent] if incumbent else []
        self._everybody = self._incumbent + self.running
        self._ids = ids
        self._parts = list(parts)
        self._whole = len(parts) == 1
        self._level = error / max(1, len(parts) - 1) / max(1, len(self._everybody) - 1)
        self._seen = np.zeros(len(ids), dtype=bool)

    @property
    def over(self) -> bool:
        """Whether all minibatches are rated, or nobody is left."""
        return not (self._parts and self.running)

    def questions(self) -> list[Rate]:
        """One for each prompt still in the race, on the next minibatch."""
        on = () if self._whole else tuple(self._ids[i] for i in self._parts[0])
        return [Rate(runner.prompt, on, self._cases) for runner in self.running]

    def take(self, ratings: Mapping[Prompt, Rating]) -> None:
        """Take ratings on that minibatch; who has none leaves the race, and who is clearly worse is dropped."""
        part = self._parts.pop(0)
        self._seen[part] = True
        self.running = [runner for runner in self.running if runner.prompt in ratings]
        for runner in self.running:
            self.paired &= runner.take(part, ratings[runner.prompt])
        if self._parts and self.running and self.paired:
            self._drop_losers()

    def _drop_losers(self) -> None:
        """Compare everybody with the leader on the examples so far. Of equals, the earlier leads."""
        leader = max(self._incumbent + self.running, key=lambda runner: _rank(runner.values[self._seen]))
        lost = [r for r in self.running if clearly_worse((r.values - leader.values)[self._seen], level=self._level)]
        self.lost += [(runner, leader) for runner in lost]
        self.running = [runner for runner in self.running if runner not in lost]

    def estimates(self) -> dict[Runner, float]:
        """What the dropped would have been rated, by their distance to who beat them; no less than the least value.

        A leader that was dropped later has an estimate of its own, so a chain of these ends at a prompt that finished,
        and all in it are below that one. Where it ended its race unrated, they have no estimate.
        """
        scored = [runner.values for runner in self._everybody if not np.isnan(runner.values).all()]
        least = min((float(np.nanmin(values)) for values in scored), default=0.0)
        known = {runner: average(runner.values) for runner in self._incumbent + self.running}
        for runner, leader in reversed(self.lost):
            if leader in known:
                known[runner] = max(least, known[leader] + average(runner.values - leader.values))
        return {runner: known[runner] for runner, _ in self.lost if runner in known}


def clearly_worse(differences: Array, *, level: float) -> bool:
    """Whether paired differences ``(n,)`` are below 0 at a level of significance; NaN are left out."""
    changed = differences[~np.isnan(differences) & (differences != 0)]
    if not len(changed) or changed.mean() >= 0 or 0.5 ** len(changed) > level:
        return False
    from scipy import stats

    if np.ptp(np.abs(changed)) < 1e-12:
        return bool(stats.binomtest(int((changed > 0).sum()), len(changed), alternative="less").pvalue <= level)
    return bool(stats.wilcoxon(changed, alternative="less").pvalue <= level)


def _together(parts: Sequence[Coverage | None]) -> Coverage | None:
    """The coverage of minibatches as one; None where it is not known of all."""
    known = [part for part in parts if part is not None]
    if len(known) < len(parts):
        return None
    reasons = sum((Counter(part.reasons) for part in known), Counter[str]())
    examples, scored, failed = (
        sum(numbers) for numbers in zip(*((p.examples, p.scored, p.failed) for p in known), strict=True)
    )
    return Coverage(examples, scored, failed, dict(reasons))


def _rank(values: Array) -> float:
    mean = average(values)
    return mean if mean == mean else -math.inf
