"""An archive of the best prompt of each kind, and an LLM that is sent where it is empty [Bradley2024, Mouret2015].

Herbie Bradley et al., *Quality-Diversity through AI Feedback*, 2023, arXiv 2310.13032; Jean-Baptiste Mouret and Jeff
Clune, *Illuminating search spaces by mapping elites*, 2015, arXiv 1504.04909. Measures tell the kind of a prompt: each
falls into ranges, and a cell is one range of each. The best prompt of a cell is its elite. ::

    the starting prompts are rated, and each takes its cell
    repeat rounds times:
        repeat batch times:
            parent, goal <- an elite and an empty cell beside its own, or an elite and its own cell
            children <- LLM: shown the parent, its kind and the best elites; told what is to be different
        each child is measured, and rated
        a child takes its cell if that is empty; else, if it is better than the elite there, both are rated again, and
        it displaces the elite if it is better still

Rows marked † were read in the released code, OpenELM; its defaults are those of its configuration, which are for trying
it out. "Not stated" is what could not be looked up: of the papers only the abstracts were at hand.

============ ============== ============================ ==================== =======================================
parameter    paper          released code †              default here         why it differs
============ ============== ============================ ==================== =======================================
measures     the task's     the task's                   words, lines         they cost nothing
ranges       not stated     12, of equal width           5 and 4, by edges    lengths of prompts are no even spread
first        not stated     2 steps of random texts      the starting prompts likewise the user's
rounds       not stated     3 steps after these          50                   the budget ends it
batch        not stated     32                           4                    an LLM is asked for each
per_call     not stated     1                            2                    one call is asked for a list
parent       an elite, each as likely as any other       likewise, or one     to grow where the archive is empty
                                                         beside an empty cell
rerate       none           none                         1                    so that luck displaces nobody
temperature  not stated     0.85                         1.0
============ ============== ============================ ==================== =======================================

Here a measure is a function of the text, or a word of a scale that an LLM chooses. Prompts are measured before they are
rated, which costs more; one that the LLM does not measure is not rated. The starting prompts are, in any case.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np

from ..checks import at_least, check_argument
from ..core import Archive, ChatModel, Elite, Message, Prompt, Rate, Rating, Setup
from ..stats import mean
from ..text import shortened
from ..vocabulary import PLACEHOLDER_RULE, is_template
from .measures import Judge, Measured, measures_of
from .proposers.asking import Asker
from .proposers.quoting import LONGEST, RULE, quoted
from .steps import Ratings, RatingSearch, Search

__all__ = ["MapElites"]

Cell: TypeAlias = tuple[int, ...]

IDLE = 5  # so many rounds in a row without a new prompt end the search
MOST_CELLS = 1_000

FORMAT = 'Answer only with JSON: {"prompts": ["...", "..."]}. Write a line break inside of a text as \\n.'


class MapElites(RatingSearch):
    """Keeps the best prompt of each kind, and has an LLM write prompts of the kinds that are missing.

    With a scorer whose answers vary, give the run ``cache = false``: with it, a repeated question is answered from
    memory, so that rating again changes nothing, and costs nothing.

    Args:
        model: writes the prompts; billed to the run as ``proposer``.
        measures: what tells the kind of a prompt: ``words``, ``lines``, ``politeness``, or tables, see
            :func:`.measures.measures_of`.
        judge: the LLM for measures with a scale, billed as ``judge``; by default that which writes.
        task: what the prompts are for, in the user's words; told to the model.
        rounds: how often the archive is added to.
        batch: parents in a round.
        per_call: prompts asked for, for each parent.
        directed: the share of the parents that are chosen for an empty cell beside theirs, as long as there is one.
        shown: how many other elites, the best, the model is shown.
        rerate: how often an elite and a better newcomer are rated again before it is displaced; 0 for never.
        temperature: of the model.

    Raises:
        UserError: a number is out of range, a measure is wrong, or there are too many cells.
    """

    def __init__(
        self,
        *,
        model: ChatModel,
        measures: Sequence[str | Mapping[str, Any]] = ("words", "lines"),
        judge: ChatModel | None = None,
        task: str = "",
        rounds: int = 50,
        batch: int = 4,
        per_call: int = 2,
        directed: float = 0.75,
        shown: int = 3,
        rerate: int = 1,
        temperature: float = 1.0,
    ) -> None:
        at_least(1, rounds=rounds, batch=batch, per_call=per_call)
        at_least(0, shown=shown, rerate=rerate)
        check_argument("directed", directed, allowed="a share from 0 to 1", holds=0 <= directed <= 1)
        self.measures = measures_of(measures)
        self._sizes = tuple(len(measure.ranges) for measure in self.measures)
        cells = math.prod(self._sizes)
        allowed = f"{MOST_CELLS} or fewer; give fewer measures or edges"
        check_argument("the number of cells", cells, allowed=allowed, holds=cells <= MOST_CELLS)
        self._asker = Asker(model, temperature=temperature)
        self._judge = Judge(judge or model, self.measures, task=task.strip())
        self._task = task.strip()
        self.rounds = rounds
        self.batch = batch
        self.per_call = per_call
        self.directed = directed
        self.shown = shown
        self.rerate = rerate

    def begin(self, setup: Setup, /) -> None:
        """Start afresh.

        Raises:
            UserError: there is no starting prompt.
        """
        self._setup = setup
        self._means = self._ratings = Means(setup.start)
        self._rng = setup.rng()
        self._kind = "template" if is_template(setup) else "instruction"
        self._measured: dict[Prompt, dict[str, Measured] | None] = {}
        self._elites: dict[Cell, Prompt] = {}
        self._tries: Counter[Cell] = Counter()
        self._history: list[Elite] = []
        self._question = -1
        self._asker.begin(setup)
        self._judge.begin(setup)
        self._search = self._fill()

    def tell(self, answered: Sequence[tuple[Rate, Rating]], /) -> None:
        """Take ratings; of a prompt that was rated before, the mean counts."""
        self._question = max([self._question, *(question.number for question, _ in answered)])
        super().tell(answered)

    def ratings(self) -> Mapping[Prompt, Rating]:
        """The ratings of those that were rated again with another value."""
        return self._means.varied

    def archive(self) -> Archive:
        """Who holds each cell, and who held it before."""
        return Archive({measure.name: measure.ranges for measure in self.measures}, tuple(self._history))

    # ── The search ────────────────────────────────────────────────────────────────────────────────────────────────

    def _fill(self) -> Search:
        """The search of the papers."""
        for prompt in self._setup.start:
            self._measure(prompt)
        yield from self._settle(self._setup.start)
        idle = 0
        for turn in range(self.rounds):
            new = [child for _ in range(self.batch) for child in self._children(turn)]
            idle = 0 if new else idle + 1
            if idle == IDLE:
                return
            yield from self._settle(new)

    def _settle(self, prompts: Sequence[Prompt]) -> Search:
        """Rate prompts, and give each the cell that it earns."""
        yield from self._rate(prompts)
        ranked = [prompt for prompt in self._ratings.ranked(prompts) if self._measured[prompt]]
        for prompt in ranked:
            if self._cell(prompt) not in self._elites:
                self._enter(prompt)
        better = [prompt for prompt in ranked if self._is_better(prompt)]
        for _ in range(self.rerate if better else 0):
            yield [Rate(one) for one in dict.fromkeys(p for prompt in better for p in (self._elite(prompt), prompt))]
        for prompt in better:
            self._enter(prompt if self._is_better(prompt) else self._elite(prompt))

    def _is_better(self, prompt: Prompt) -> bool:
        """Whether a prompt is better than the elite of its cell."""
        return self._ratings[prompt].rank > self._ratings[self._elite(prompt)].rank

    def _enter(self, prompt: Prompt) -> None:
        """Have a prompt hold its cell, and write that down if it is new."""
        cell, value, measured = self._cell(prompt), self._ratings[prompt].value, self._measured[prompt]
        last = next((one for one in reversed(self._history) if one.cell == cell), None)
        self._elites[cell] = prompt
        if last is None or (last.prompt, last.value) != (prompt, value):
            self._history.append(Elite(cell, prompt, value, measured or {}, self._question))

    def _elite(self, prompt: Prompt) -> Prompt:
        return self._elites[self._cell(prompt)]

    def _cell(self, prompt: Prompt) -> Cell:
        measured = self._measured[prompt] or {}
        return tuple(measure.place(measured[measure.name]) for measure in self.measures)

    def _measure(self, prompt: Prompt) -> bool:
        """Measure a prompt that was not measured before; whether that went well."""
        if prompt not in self._measured:
            self._measured[prompt] = self._judge.measured(prompt)
        return self._measured[prompt] is not None

    # ── New prompts ───────────────────────────────────────────────────────────────────────────────────────────────

    def _children(self, turn: int) -> list[Prompt]:
        """New prompts from one call, each measured."""
        parent, goal = self._aim()
        origin = {"step": self._step(turn, parent, goal), "parents": [parent.text]}
        texts = self._asker.prompts([Message("user", self._message(parent, goal))], self._rng)[1]
        new = [prompt for text in texts if (prompt := Prompt(text, origin)) not in self._measured]
        return [prompt for prompt in new[: self.per_call] if self._measure(prompt)]

    def _aim(self) -> tuple[Prompt, Cell | None]:
        """A parent, and the cell that its children are to be in; None where no elite is known yet."""
        if not self._elites:
            return self._setup.start[int(self._rng.integers(len(self._setup.start)))], None
        ways = [(own, cell) for own in self._elites for cell in self._beside(own) if cell not in self._elites]
        if not ways or self._rng.random() >= self.directed:
            own = list(self._elites)[self._rng.integers(len(self._elites))]
            return self._elites[own], own
        fewest = min(self._tries[cell] for _, cell in ways)  # some cells may be beyond reach
        ways = [way for way in ways if self._tries[way[1]] == fewest]
        own, goal = ways[self._rng.integers(len(ways))]
        self._tries[goal] += 1
        return self._elites[own], goal

    def _beside(self, cell: Cell) -> Iterator[Cell]:
        """The cells that differ by one range of one measure."""
        for i, size in enumerate(self._sizes):
            for place in (cell[i] - 1, cell[i] + 1):
                if 0 <= place < size:
                    yield (*cell[:i], place, *cell[i + 1 :])

    # ── What the LLM is asked ─────────────────────────────────────────────────────────────────────────────────────

    def _message(self, parent: Prompt, goal: Cell | None) -> str:
        others = [p for p in self._ratings.ranked(self._elites.values()) if p != parent][: self.shown]
        material = [(self._kind.capitalize(), parent), *((f"Other {i}", one) for i, one in enumerate(others, 1))]
        many = f"{self.per_call} {self._kind}s" if self.per_call > 1 else f"one {self._kind}"
        parts = [
            f"The {self._kind} below is to be rewritten."
            + (" The others are of other kinds, and work well, the best one first." if others else ""),
            f"What it is for: {self._task}" if self._task else "",
            RULE,
            quoted([(title, shortened(prompt.text, most=LONGEST)) for title, prompt in material]),
            self._traits(parent),
            f"Write {many} for the same purpose. {self._difference(parent, goal)}",
            PLACEHOLDER_RULE if self._kind == "template" else "",
            FORMAT,
        ]
        return "\n\n".join(filter(None, parts))

    def _traits(self, parent: Prompt) -> str:
        """How the parent was measured."""
        measured = self._measured.get(parent)
        if measured is None:
            return ""
        said = [f"- {one.name} ({one.meaning}): {measured[one.name]}" for one in self.measures]
        return "\n".join([f"The {self._kind} has these traits:", *said])

    def _difference(self, parent: Prompt, goal: Cell | None) -> str:
        """What is to be different: one trait, towards an empty cell, or none."""
        if goal is None or goal == (own := self._cell(parent)):
            return "It should work better than this one; keep the traits within a little of what they are."
        i = next(i for i, place in enumerate(goal) if place != own[i])
        one = self.measures[i]
        way = "higher" if goal[i] > own[i] else "lower"
        return (
            f"Make one trait {way}: {one.name} is to be {one.ranges[goal[i]]}, and no longer {one.ranges[own[i]]}. "
            "Keep the others as they are, and whatever makes it work."
        )

    def _step(self, turn: int, parent: Prompt, goal: Cell | None) -> str:
        """What a call is for, in words: ``3, towards words 20 to 39``, or ``3, to be better``."""
        if goal is None or goal == (own := self._cell(parent)):
            return f"{turn}, to be better"
        named = zip(self.measures, own, goal, strict=True)
        return f"{turn}, towards {next(f'{m.name} {m.ranges[new]}' for m, old, new in named if new != old)}"


class Means(Ratings):
    """Ratings of which the mean counts where a prompt was rated several times.

    Attributes:
        varied: the means of those whose ratings were not all the same.
    """

    def __init__(self, start: Sequence[Prompt]) -> None:
        super().__init__(start)
        self.varied: dict[Prompt, Rating] = {}
        self._all: dict[Prompt, list[Rating]] = {}

    def add(self, answered: Iterable[tuple[Rate, Rating]]) -> None:
        """Take answers. A tie does not displace the incumbent; a rating that fell may."""
        for question, rating in answered:
            every = self._all.setdefault(question.prompt, [])
            every.append(rating)
            together = _mean(every)
            if together is not every[0]:
                self.varied[question.prompt] = together
            self._of[question.prompt] = together
        known = [self.best, *self._of] if self.best in self._of else [*self._of]
        self.best = max(known, key=lambda prompt: self._of[prompt].rank, default=self.best)


def _mean(ratings: Sequence[Rating]) -> Rating:
    """Several ratings of one prompt as one: the first, where all say the same."""
    scored = [rating for rating in ratings if rating.value == rating.value] or ratings[:1]
    first = scored[0]
    if all(rating.rank == first.rank for rating in scored):
        return first
    rows = [rating.per_example for rating in scored if rating.per_example is not None]
    same = len(rows) == len(scored) and len({len(row) for row in rows}) == 1
    values = np.ma.masked_invalid(np.stack(rows)).mean(axis=0).filled(np.nan) if same else None
    return replace(
        first,
        value=mean(np.array([rating.value for rating in scored])),
        tiebreak=mean(np.array([rating.tiebreak for rating in scored])),
        per_example=values,
    )
