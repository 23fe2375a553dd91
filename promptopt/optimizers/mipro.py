"""MIPRO: instruction and demonstrations together, by a tree-structured Parzen estimator [OpsahlOng2024].

Krista Opsahl-Ong et al., *Optimizing Instructions and Demonstrations for Multi-Stage Language Model Programs*, EMNLP
2024, arXiv 2406.11695; as MIPROv2 it is part of DSPy.

::

    rate the start on all training examples; bootstrap sets of demonstrations from its outputs that are right
    take instructions from a pool
    trials times:
        the estimator says which instruction and which set; rate them on a minibatch of the examples, and tell it
        every full trials, and at the end: rate the pair of the highest mean so far on all examples, and tell it
    the best of what was rated on all examples

============ ============================= ============== ==========================================================
parameter    DSPy 3.4, auto = "medium"     default here   why it differs
============ ============================= ============== ==========================================================
trials       18, by a formula              18
instructions 6                             6              with the start's
sets         12                            12             with the start's, and one with labels
k            1 to 4 bootstrapped, at       4              as of :mod:`.demonstrations`
             random, filled up to 4
             with labels
bootstrap    always                        True
minibatch    35; all examples where        35             all where there are no more
             there are 50 or fewer
full         5                             5
============ ============================= ============== ==========================================================

The estimator is Optuna's, as there. The instructions come from whatever pool is given: a list or file of proposals, or
``written``, where an LLM writes them from examples; DSPy's are written from summaries of the program and the data. The
whole search rates on the training split; DSPy splits off examples for that where none are given.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from itertools import islice
from statistics import fmean
from typing import Any, TypeAlias

from ..checks import at_least
from ..core import Begins, Example, Prompt, Prompted, Rate, Rating, Setup, Target
from ..demonstrations import PART as DEMONSTRATIONS
from ..demonstrations import of_prompt, text_of
from ..errors import require
from ..parts import parts_of
from ..quiet import optuna_quiet
from ..vocabulary import check
from .demonstrations import Shown, check_part, with_parts
from .part_by_part import PartOf, PartSetup
from .pools import Pool
from .steps import Ratings, RatingSearch, Search

__all__ = ["Mipro"]

INSTRUCTION = "instruction"
STREAM = int.from_bytes(b"pool")
"""Key of the random streams of the pool."""

Pair: TypeAlias = dict[str, int]
"""Which instruction and which set, by the name of the part."""


class Mipro(RatingSearch):
    """Searches the parts ``instruction`` and ``demonstrations`` together.

    Args:
        pool: where instructions come from; as of a search of that part alone. Without one, the starting ones are
            all there are.
        examples: the training examples.
        instructions: how many instructions are tried, the starting ones included.
        sets: how many sets of demonstrations, the starting one included.
        k, bootstrap, threshold: as of :class:`~promptopt.optimizers.demonstrations.Demonstrations`.
        trials: how many pairs the estimator asks about; it may come back to one.
        minibatch: on how many examples; on all where there are no more.
        full: after how many trials the pair of the highest mean is rated on all examples.
        frozen: parts that are not changed; the run's.
        target: the run's.

    Raises:
        UserError: a number is out of range, or there are not more examples than are to be shown.
        MissingExtra: Optuna is not installed.
    """

    knows_parts = True

    def __init__(
        self,
        *,
        examples: Sequence[Example],
        pool: Pool | None = None,
        instructions: int = 6,
        sets: int = 12,
        k: int = 4,
        bootstrap: bool = True,
        threshold: float = 1.0,
        trials: int = 18,
        minibatch: int = 35,
        full: int = 5,
        frozen: Collection[str] = (),
        target: Target | None = None,
    ) -> None:
        at_least(1, instructions=instructions, sets=sets, trials=trials, minibatch=minibatch, full=full)
        require("optuna", extra="sweep")
        self.pool = pool
        self.shown = Shown(examples, k=k, threshold=threshold, bootstrap=bootstrap, target=target)
        self.instructions, self.sets = instructions, sets
        self.trials, self.full = trials, full
        self.minibatch = minibatch
        self.frozen = frozen
        self._ids = tuple(example.id for example in examples)

    def check(self, run: Prompted, /) -> None:
        """Whether the starting prompts have both parts, the target can show examples, and the pool suits.

        Raises:
            UserError: they have not, one is frozen, it cannot, or it does not.
        """
        for part in (INSTRUCTION, DEMONSTRATIONS):
            check_part(run, part, frozen=self.frozen)
        self.shown.check(run)
        check(self.pool, PartOf(run, INSTRUCTION, base=run.start[0].text))

    def begin(self, setup: Setup, /) -> None:
        """Start afresh.

        Raises:
            UserError: as :meth:`check`.
        """
        self.check(setup)
        self._setup = setup
        self._ratings = Ratings(setup.start)
        self._rng = setup.rng()
        self._told: dict[Rate, Rating] = {}
        texts = list(dict.fromkeys(parts_of(prompt.text)[INSTRUCTION] for prompt in setup.start))
        self._part = PartSetup(setup, INSTRUCTION, base=setup.start[0].text, start=texts, key=(STREAM,))
        if isinstance(self.pool, Begins):
            self.pool.begin(self._part)
        self._search = self._joint()

    def tell(self, answered: Sequence[tuple[Rate, Rating]], /) -> None:
        """Take ratings; those on all examples may become the best."""
        self._told = dict(answered)
        self._ratings.add((question, rating) for question, rating in answered if not question.on)

    # ── The search ────────────────────────────────────────────────────────────────────────────────────────────────

    def _joint(self) -> Search:
        yield [Rate(prompt, cases=self.shown.bootstrap) for prompt in self._setup.start]
        starts = self._ratings.ranked(self._setup.start)
        self._base = self._ratings.best
        choices = {INSTRUCTION: self._proposed(), DEMONSTRATIONS: self._drawn([self._ratings[one] for one in starts])}
        pairs = Pairs(choices, seed=int(self._rng.integers(2**31)))
        pairs.add({INSTRUCTION: 0, DEMONSTRATIONS: 0}, self._value(self._base))
        for trial in range(1, self.trials + 1):
            yield from self._try(pairs)
            if trial % self.full == 0 or trial == self.trials:
                yield from self._rate_best(pairs)

    def _try(self, pairs: Pairs) -> Search:
        """Rate what the estimator asks for on a minibatch; a pair that was rated on all examples needs none there."""
        pair = pairs.ask()
        prompt = self._prompt(pairs.texts(pair))
        whole = self.minibatch >= len(self._ids)
        if prompt is None or (whole and prompt in self._ratings):
            pairs.tell(math.nan if prompt is None else self._value(prompt))
            return
        drawn = sorted(self._rng.permutation(len(self._ids))[: self.minibatch].tolist())
        question = Rate(prompt, () if whole else tuple(self._ids[i] for i in drawn))
        yield [question]
        pairs.tell(self._told[question].value if question in self._told else math.nan)

    def _rate_best(self, pairs: Pairs) -> Search:
        """Rate the pair of the highest mean on all examples, if it was not."""
        for pair in pairs.ranked():
            prompt = self._prompt(pairs.texts(pair))
            if prompt is not None and prompt not in self._ratings:
                yield [Rate(prompt)]
                pairs.add(pair, self._value(prompt))
                return

    def _value(self, prompt: Prompt) -> float:
        return self._ratings[prompt].value if prompt in self._ratings else math.nan

    def _prompt(self, texts: dict[str, str]) -> Prompt | None:
        """The prompt of a pair, if the target can take it."""
        text = with_parts(self._base.text, texts)
        known = {prompt.text: prompt for prompt in self._setup.start}
        prompt = known.get(text, Prompt(text, {"step": "tpe", "parents": [self._base.text]}))
        return prompt if self._setup.problem_with(prompt) is None else None

    # ── What is chosen among ──────────────────────────────────────────────────────────────────────────────────────

    def _proposed(self) -> list[str]:
        """The instructions, that of the best start first."""
        first = parts_of(self._base.text)[INSTRUCTION]
        own = list(dict.fromkeys([first, *(prompt.text for prompt in self._part.start)]))
        drawn = self.pool.draw(self._part.rng(0)) if self.pool else iter(())
        new = (text for text in drawn if text not in own and self._part.problem_with(Prompt(text)) is None)
        return [*own, *islice(new, max(0, self.instructions - len(own)))]

    def _drawn(self, rated: Sequence[Rating]) -> list[str]:
        """The sets of demonstrations, that of the best start first."""
        own = self.shown.among(rated, setup=self._setup)
        labels = islice(self.shown.draw(self.shown.labelled, self._rng), 1)
        sets = [of_prompt(self._base.text), *labels, *islice(self.shown.draw(own, self._rng), self.sets)]
        return list(dict.fromkeys(map(text_of, sets)))[: self.sets]


# ── The estimator ─────────────────────────────────────────────────────────────────────────────────────────────────


class Pairs:
    """Optuna's estimator over a choice for each part, and the mean value of each pair that was rated.

    Args:
        choices: the texts of each part.
        seed: of the estimator.
    """

    def __init__(self, choices: dict[str, list[str]], *, seed: int) -> None:
        self._optuna = optuna = require("optuna", extra="sweep")
        self._choices = choices
        with optuna_quiet():
            sampler = optuna.samplers.TPESampler(seed=seed, multivariate=True)
            self._study = optuna.create_study(direction="maximize", sampler=sampler)
        over = optuna.distributions.CategoricalDistribution
        self._over = {part: over(range(len(texts))) for part, texts in choices.items()}
        self._values: dict[tuple[int, ...], list[float]] = {}
        self._trial: Any = None

    def ask(self) -> Pair:
        """The pair that the estimator wants to be rated."""
        with optuna_quiet():
            self._trial = self._study.ask(self._over)
        return dict(self._trial.params)

    def tell(self, value: float) -> None:
        """What that pair was rated; NaN where it was not."""
        failed = self._optuna.trial.TrialState.FAIL
        with optuna_quiet():
            if math.isnan(value):
                self._study.tell(self._trial, state=failed)
            else:
                self._study.tell(self._trial, value)
                self._keep(self._trial.params, value)

    def add(self, pair: Pair, value: float) -> None:
        """A rating that the estimator did not ask for."""
        if not math.isnan(value):
            with optuna_quiet():
                trial = self._optuna.trial.create_trial(params=pair, distributions=self._over, value=value)
                self._study.add_trial(trial)

    def ranked(self) -> Iterator[Pair]:
        """The pairs that the estimator asked for, those of the highest means first."""
        for places in sorted(self._values, key=lambda one: fmean(self._values[one]), reverse=True):
            yield dict(zip(self._choices, places, strict=True))

    def texts(self, pair: Pair) -> dict[str, str]:
        """The text of each part."""
        return {part: self._choices[part][place] for part, place in pair.items()}

    def _keep(self, pair: Pair, value: float) -> None:
        self._values.setdefault(tuple(pair[part] for part in self._choices), []).append(value)
