"""Evolution whose operators an LLM carries out: EvoPrompt [Guo2023].

Guo et al., *Connecting Large Language Models with Evolutionary Algorithms Yields Powerful Prompt Optimizers*, ICLR
2024, arXiv 2309.08532. ::

    population <- the better N/2 of the given prompts, filled up to N with the LLM's paraphrases of them
    repeat generations times:
        ga: for each of N children:
                two parents by the roulette wheel, each with a probability in proportion to its score
                child <- LLM: cross the parents over, then mutate what comes of it
            population <- the N best of population and children
        de: for each member of the population:
                a, b <- two others at random
                child <- LLM: what differs between a and b, mutated, put into the best prompt, crossed with the member
                the better of member and child stays; of equals the member

Rows marked † were read in the released code and its description.

================== ============== ===================== ============== ==============================================
parameter          paper          code †                here           why it differs
================== ============== ===================== ============== ==============================================
algorithm          both           de                    de
population         not stated     10                    10
generations        not stated     10                    10
temperature        not stated     0.5                   0.5
given prompts      hand-written,  the same, from files  starts, pool
                   and by an LLM
which are kept     not stated     the best N/2          the best N/2
paraphrases        not stated     one of each of these  as many as     a run may begin with one prompt
                                                        are missing
GA: parents        roulette       roulette; two of a    roulette       with a wheel of their own for each child, two
                                  drawn population                     different ones
GA: who stays      the best N     the best N            the best N
DE: third prompt   the best       the best              the best       of the generation before: the code takes one
                                                                       found a moment ago, and so cannot ask in batches
worked example     one            one                   none           models follow the steps without
================== ============== ===================== ============== ==============================================

"Not stated" is what could not be looked up. Where scores are negative the wheel turns by their distance to the lowest.
We differ in that a prompt rated before is not asked about again, and in that a generation without a new prompt ends the
search. The wording is ours. The code rates the last population on the test split and reports the best there; here the
test split is out of reach.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, Literal

import numpy as np

from ..checks import at_least
from ..core import Begins, ChatModel, Message, Prompt, Prompted, Setup
from ..errors import UnknownName
from ..text import shortened
from ..vocabulary import PLACEHOLDER_RULE, check, is_template
from .pools import Pool
from .pools.written import paraphrased
from .proposers.asking import Asker
from .proposers.quoting import LONGEST, RULE, quoted
from .steps import Ratings, RatingSearch, Search

__all__ = ["EvoPrompt"]

LEAST = {"ga": 2, "de": 3}  # prompts that a generation is bred from
CROSS_AND_MUTATE = (
    "First cross the two over: put parts of both together, so that one new {kind} comes of it. Then mutate that one: "
    "change a part of it at random, so that it still asks for the same."
)
DIFFER_AND_COMBINE = (
    "First find the parts in which {kind} A and {kind} B differ. Second, mutate these parts: word each of them in a "
    "new way, at random. Third, put mutated parts into the best {kind}, in the place of parts that they can stand for. "
    "Fourth, cross what comes of that with the present {kind}: put parts of both together to the final {kind}."
)


class EvoPrompt(RatingSearch):
    """A genetic algorithm, or differential evolution, in which an LLM crosses and mutates prompts.

    Args:
        model: paraphrases, crosses and mutates; billed to the run as ``proposer``.
        algorithm: ``de`` for differential evolution, ``ga`` for the genetic algorithm.
        pool: where given prompts come from beside the starting prompts; without one, there are these alone.
        population: how many prompts there are at a time.
        generations: how often they breed.
        temperature: of the model.
        task: what the prompts are for, in the user's words; told to the model.

    Raises:
        UserError: a number is out of range, or there is no such algorithm.
    """

    def __init__(
        self,
        *,
        model: ChatModel,
        algorithm: Literal["de", "ga"] = "de",
        pool: Pool | None = None,
        population: int = 10,
        generations: int = 10,
        temperature: float = 0.5,
        task: str = "",
    ) -> None:
        if algorithm not in LEAST:
            raise UnknownName("algorithm", algorithm, LEAST)
        at_least(LEAST[algorithm], population=population)
        at_least(0, generations=generations)
        self._asker = Asker(model, temperature=temperature)
        self.algorithm, self.pool = algorithm, pool
        self.population, self.generations = population, generations
        self._task = task.strip()

    def check(self, run: Prompted, /) -> None:
        """Whether the pool suits the prompts.

        Raises:
            UserError: it does not.
        """
        check(self.pool, run)

    @property
    def begins_alone(self) -> bool:
        """Whether there is a pool to begin with where there is no starting prompt."""
        return self.pool is not None

    def begin(self, setup: Setup, /) -> None:
        """Start afresh and bill the model to this run.

        Raises:
            UserError: there is neither a starting prompt nor a pool.
        """
        self._setup = setup
        self._ratings = Ratings(setup.start, alone=self.begins_alone)
        self._known: dict[Prompt, None] = dict.fromkeys(setup.start)
        self._rng = setup.rng()
        if isinstance(self.pool, Begins):
            self.pool.begin(setup)
        self._asker.begin(setup)
        self._search = self._evolve()

    def _evolve(self) -> Search:
        given = [*self._setup.start, *islice(self._drawn(), self.population)]
        yield from self._rate(given)
        kept = self._ratings.ranked(given)[: max(1, self.population // 2)]
        paraphrases: list[Prompt] = []
        how: dict[str, Any] = {"known": self._known, "asker": self._asker, "rng": self._rng, "task": self._task}
        for new in paraphrased(kept, wanted=self.population - len(kept), **how):
            self._known |= dict.fromkeys(new)
            paraphrases += new
            yield from self._rate(new)
        population = self._ratings.ranked([*kept, *paraphrases])
        breed = self._children if self.algorithm == "ga" else self._rivals
        for generation in range(self.generations):
            if len(population) < LEAST[self.algorithm]:
                self._setup.note(f"evoprompt stopped: no more than {len(population)} prompts were there to breed from.")
                return
            children = breed(population, str(generation))
            new = [child for child in children if child is not None and child not in self._known]
            if not new:
                return
            self._known |= dict.fromkeys(new)
            yield from self._rate(new)
            population = self._survivors(population, children)

    # ── The first population ──────────────────────────────────────────────────────────────────────────────────────

    def _drawn(self) -> Iterator[Prompt]:
        """Prompts of the pool that the target can take."""
        for text in self.pool.draw(self._setup.rng(0)) if self.pool else ():
            prompt = Prompt(text, {"step": "pool"})
            if prompt not in self._known and self._setup.problem_with(prompt) is None:
                self._known[prompt] = None
                yield prompt

    # ── The genetic algorithm ─────────────────────────────────────────────────────────────────────────────────────

    def _children(self, population: Sequence[Prompt], step: str) -> list[Prompt | None]:
        """As many as the population is to have, each of two parents."""
        values = np.array([self._ratings[prompt].value for prompt in population])
        return [
            self._bred([("first {kind}", a), ("second {kind}", b)], CROSS_AND_MUTATE, step=step)
            for a, b in ((population[i], population[j]) for i, j in (self._two(values) for _ in range(self.population)))
        ]

    def _two(self, values: np.ndarray) -> tuple[int, int]:
        """Two different places by the roulette wheel, from ``(n,)`` scores; with no scores above 0, any two."""
        first = self._spun(values)
        others = np.delete(np.arange(len(values)), first)
        return first, int(others[self._spun(values[others])])

    def _spun(self, values: np.ndarray) -> int:
        weights = values - min(0.0, float(values.min()))
        total = float(weights.sum())
        return int(self._rng.choice(len(values), p=weights / total if total > 0 else None))

    # ── Differential evolution ────────────────────────────────────────────────────────────────────────────────────

    def _rivals(self, population: Sequence[Prompt], step: str) -> list[Prompt | None]:
        """One for each member, in order."""
        best = self._ratings.ranked(population)[0]
        rivals = []
        for place, member in enumerate(population):
            others = [prompt for other, prompt in enumerate(population) if other != place]
            a, b = (others[i] for i in self._rng.choice(len(others), 2, replace=False))
            shown = [("{kind} A", a), ("{kind} B", b), ("best {kind}", best), ("present {kind}", member)]
            rivals.append(self._bred(shown, DIFFER_AND_COMBINE, step=step))
        return rivals

    def _survivors(self, population: Sequence[Prompt], children: Sequence[Prompt | None]) -> list[Prompt]:
        """The next population."""
        if self.algorithm == "ga":
            every = dict.fromkeys([*population, *filter(None, children)])
            return self._ratings.ranked(every)[: self.population]
        survivors = list(population)
        for place, child in enumerate(children):
            if child is not None and child in self._ratings and child not in survivors:
                survivors[place] = self._ratings.ranked([survivors[place], child])[0]
        return survivors

    # ── The operators ─────────────────────────────────────────────────────────────────────────────────────────────

    def _bred(self, shown: Sequence[tuple[str, Prompt]], steps: str, *, step: str) -> Prompt | None:
        """The LLM's child of prompts, each with a title; None where there is none in its reply."""
        text = self._asker.last([Message("user", self._ask(shown, steps))], self._rng)
        origin = {"step": step, "parents": list(dict.fromkeys(prompt.text for _, prompt in shown))}
        return None if text is None else Prompt(text, origin)

    def _ask(self, shown: Sequence[tuple[str, Prompt]], steps: str) -> str:
        kind = "template" if is_template(self._setup) else "instruction"
        texts = [(f"The {title}".replace("{kind}", kind), shortened(p.text, most=LONGEST)) for title, p in shown]
        parts = [
            f"You make a new {kind} from the {kind}s below, step by step."
            + (f" What it is for: {self._task}" if self._task else ""),
            RULE,
            quoted(texts),
            steps.replace("{kind}", kind),
            PLACEHOLDER_RULE if kind == "template" else "",
            f"Write down in a few words what comes of each step, and at the end the final {kind} between <prompt> and "
            "</prompt>.",
        ]
        return "\n\n".join(filter(None, parts))
