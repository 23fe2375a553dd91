"""Reflection on what happened, from several parents at once, with a race for acceptance: our own mixture.

It is measured here and is none of promptopt's optimizers, since it found no better prompts than ``gepa`` and
``protegi`` and is not much smaller. Its tests are in ``tests/test_reflect_study.py``.

What is known to be good and is small, put together. ::

    pool <- the starting prompts, rated on all training examples
    repeat rounds times:
        front <- of the pool: what is best on some example, and not worse than another on every one
        repeat proposals times:
            parent <- one of the front, with a probability in proportion to the examples that it is best on
            minibatch <- some examples that the parent gets wrong, and some that it gets right
            child <- LLM, shown what happened there: why, and a new prompt
        in place of one of them: child <- LLM, shown two of the front, of different lineages, where each beats the other
        each child is rated on what its LLM was shown, and dropped if it does no better there than its parent
        the others are rated on ever more other examples, and dropped once they are clearly worse there than the parent
        pool <- pool + the children that are now rated on all examples

=================== ============================ ============================ =====================================
idea                paper                        code                         here
=================== ============================ ============================ =====================================
reflection          GEPA [Agrawal2025]           shows a parent's minibatch,  likewise; reasons and prompt come in
                                                 right or wrong               one reply
parents             GEPA: best on some example,  the same; without dominated  the same
                    by on how many               ones
several proposals   GEPA's package, later:       ``IndependentSampling``; off ``proposals`` draws of parent and
                    several parents a round                                   minibatch
minibatch           GEPA: the next 3 of the      rated for parent and child   the parent's cases are known, so wrong
                    training examples                                         ones are chosen, and the parent costs
                                                                              nothing
first acceptance    GEPA: a higher sum there     the same                     the same
further acceptance  GEPA: none                   rated on all of the valset   a race, as of ``racing``, against the
                                                                              parent, on examples that the LLM was not
                                                                              shown
merge               GEPA: modules of two         exchanges components         an LLM merges two texts; the pair that
                    lineages                                                  would be best if each gave what it is
                                                                              better at
answer              GEPA: best on the valset     the same                     best on all training examples
=================== ============================ ============================ =====================================

The test of the race is that of the optimizer ``racing``, at each look at the level ``error``. It is not corrected for
the number of looks: a good child that is lost costs less than many bad ones that are rated on everything. The test
speaks of the examples that the LLM was not shown, since on the others a child that has learnt answers by heart is good.
It needs a prompt to start from: there is nothing to reflect on without one. The wording is ours.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from promptopt.checks import at_least, check_argument
from promptopt.core import ChatModel, Example, Message, Prompt, Setup
from promptopt.optimizers.proposers.asking import Asker
from promptopt.optimizers.proposers.quoting import RULE, quoted
from promptopt.optimizers.proposers.showing import MOST, fitting
from promptopt.optimizers.racing import clearly_worse
from promptopt.optimizers.steps import Search
from promptopt.optimizers.tries import TriesSearch, looks
from promptopt.stats import mean
from promptopt.vocabulary import PLACEHOLDER_RULE, is_template

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from promptopt.core import Array, Indices

__all__ = ["Reflect"]

REPLIES = 20  # in a row without a new prompt end the search

NO_CASES = "The scorer does not tell what happened on single examples, so reflect's LLM was shown the prompts alone."


@dataclass(frozen=True)
class Child:
    """A new prompt.

    Attributes:
        rival: whom it has to beat: its parent, or the better one of two.
        shown: places of the examples that the LLM was shown.
    """

    prompt: Prompt
    rival: Prompt
    shown: Indices


class Reflect(TriesSearch):
    """An LLM sees what happened and writes better prompts, from parents that are best on some example.

    Every rating asks what happened (``Rate.cases``). What is shown of it to the LLM is bounded and marked as data.

    Args:
        model: reflects, merges, and writes new prompts; billed to the run as ``proposer``.
        examples: the training examples; a run fills them in.
        task: what the prompts are for, in the user's words; told to the model.
        rounds: how often prompts are proposed.
        proposals: new prompts in a round, for each of which a parent is drawn.
        wrong: wrong cases that a proposal is made from.
        right: right cases that are shown beside them.
        merge: whether one proposal of a round merges two lineages, where there are two; of every second round, where
            there is one proposal.
        sample: the least examples of a look of the race.
        error: the probability with which a look of the race may drop a child that is as good as its parent, in (0, 1).
        perfect: a case with a lower value is wrong.
        temperature: of the model.

    Raises:
        UserError: a number is out of range, there are no examples, or two share an id.
    """

    def __init__(
        self,
        *,
        model: ChatModel,
        examples: Sequence[Example] = (),
        task: str = "",
        rounds: int = 100,
        proposals: int = 4,
        wrong: int = 4,
        right: int = 1,
        merge: bool = True,
        sample: int = 8,
        error: float = 0.2,
        perfect: float = 1.0,
        temperature: float = 1.0,
    ) -> None:
        at_least(1, rounds=rounds, proposals=proposals, wrong=wrong, sample=sample)
        at_least(0, right=right)
        check_argument("error", error, allowed="a probability between 0 and 1", holds=0 < error < 1)
        check_argument("perfect", perfect, allowed="a finite number", holds=math.isfinite(perfect))
        super().__init__(examples)
        self._asker = Asker(model, temperature=temperature)
        self._task = task.strip()
        self.rounds = rounds
        self.proposals = proposals
        self.wrong = wrong
        self.right = right
        self.merge = merge
        self.sample = sample
        self.error = error
        self.perfect = perfect

    def begin(self, setup: Setup, /) -> None:
        """Start afresh.

        Raises:
            UserError: there is no starting prompt.
        """
        super().begin(setup)
        self._rng = setup.rng()
        self._kind = "template" if is_template(setup) else "instruction"
        self._ancestors: dict[Prompt, frozenset[Prompt]] = {prompt: frozenset([prompt]) for prompt in setup.start}
        self._merged: set[frozenset[Prompt]] = set()
        self._asker.begin(setup)
        self._search = self._evolve()

    # ── The search ────────────────────────────────────────────────────────────────────────────────────────────────

    def _evolve(self) -> Search:
        yield from self._rate_on(self._setup.start, self._everything)
        idle = 0
        for turn in range(self.rounds):
            front, weights = self._front()
            if not front or idle >= REPLIES:
                return
            children = list(self._children(front, weights, turn=turn))
            idle = 0 if children else idle + self.proposals
            yield from self._raced(children)

    def _front(self) -> tuple[list[Prompt], Array]:
        """Prompts that are best on some example, and on how many each is; none that another one dominates.

        Before any could be scored, the starting prompts. A prompt that is perfect wherever it could be scored leaves
        nothing to be learnt.
        """
        pool = [prompt for prompt in self._whole if not np.isnan(self._values(prompt)).all()]
        if not pool:
            return list(self._setup.start), np.ones(len(self._setup.start))
        values = np.array([self._values(prompt) for prompt in pool])
        wins = (values == np.fmax.reduce(values)).sum(axis=1)
        learns = np.nanmin(values, axis=1) < self.perfect
        kept = [i for i, row in enumerate(values) if wins[i] and learns[i] and not dominated(row, values)]
        return [pool[i] for i in kept], wins[kept]

    def _children(self, front: Sequence[Prompt], weights: Array, *, turn: int) -> Iterator[Child]:
        """The new prompts of a round."""
        pair = self._pair(front) if self.merge and (self.proposals > 1 or turn % 2) else None
        drawn = self._rng.choice(len(front), self.proposals - bool(pair), p=weights / weights.sum())
        made = [self._merger(*pair, turn=turn)] if pair else []
        yield from filter(None, [*made, *(self._reflection(front[i], turn=turn) for i in drawn)])

    def _values(self, prompt: Prompt) -> Array:
        """``(n_examples,)``; NaN where a prompt has none."""
        return self._tried(prompt).values

    # ── The race ──────────────────────────────────────────────────────────────────────────────────────────────────

    def _raced(self, children: Sequence[Child]) -> Search:
        """Rate children on what they were made from, then on ever more examples, as long as they keep up."""
        if questions := [question for child in children for question in self._questions(child.prompt, child.shown)]:
            yield questions
        running = [child for child in children if self._gains(child)]
        order = self._rng.permutation(len(self._ids))
        for end in looks(len(order), least=self.sample):
            yield from self._rate_on([child.prompt for child in running], order[:end])
            running = [child for child in running if self._keeps_up(child, order[:end])]

    def _gains(self, child: Child) -> bool:
        """Whether a child does better than its rival where it was made; of no value there decides nothing."""
        gains = mean((self._values(child.prompt) - self._values(child.rival))[child.shown])
        return bool(self._tried(child.prompt).known[child.shown].all()) and not gains <= 0

    def _keeps_up(self, child: Child, part: Indices) -> bool:
        """Whether a child was rated on some examples, and is not clearly worse on those that the LLM was not shown."""
        one, other = self._tried(child.prompt), self._tried(child.rival)
        fresh = np.setdiff1d(part, child.shown)
        worse = one.paired and other.paired and clearly_worse((one.values - other.values)[fresh], level=self.error)
        return bool(one.known[part].all()) and not worse

    # ── What the LLM is asked ─────────────────────────────────────────────────────────────────────────────────────

    def _reflection(self, parent: Prompt, *, turn: int) -> Child | None:
        """A child of one prompt, by what happened where it is wrong, and where it is right."""
        right = self._values(parent) >= self.perfect
        shown = np.concatenate([self._some(~right, self.wrong), self._some(right, self.right)])
        cases = self._told(parent, shown)
        if not cases and not np.isnan(self._values(parent)).all():
            self._setup.note(NO_CASES)
        opening = f"A model follows the {self._kind} below."
        if cases:
            opening += " Behind it are inputs that it was given, each with its output and a score; higher is better."
        why = (
            "Say first, in a few words, what in it is wrong or missing, so that some outputs are not as they should "
            "be. Then write a new one that mends this, and keeps what the good outputs rest on."
        )
        wish = f"Improve the {self._kind}. {why if cases else ''}"
        material = [(self._kind.capitalize(), parent.text), *cases]
        return self._child([parent], shown, self._message(opening, material, wish), step=f"{turn} reflection")

    def _merger(self, a: Prompt, b: Prompt, *, turn: int) -> Child | None:
        """A child of two prompts, by what happened where each is worse than the other."""
        self._merged.add(frozenset([a, b]))
        lead = self._values(a) - self._values(b)
        half = max(1, self.wrong // 2)
        behind = {a: self._some(lead < 0, half), b: self._some(lead > 0, half)}
        names = dict(zip(behind, "AB", strict=True))
        material = [(f"{self._kind.capitalize()} {name}", prompt.text) for prompt, name in names.items()]
        for prompt, places in behind.items():
            material += self._told(prompt, places, name=names[prompt], most=MOST // 2)
        opening = (
            f"Below are two {self._kind}s, A and B, for the same task. Behind them are inputs with the outputs and "
            "scores of a model that follows them; higher is better. Where the number has an A, that is what came of A, "
            "and B did better; where it has a B, it is the other way round."
        )
        wish = (
            f"Write one {self._kind} that does well on all of them. Say first, in a few words, what each of the two is "
            "better at, and why. Then put both together: keep what either is good at, and leave out what misleads."
        )
        shown = np.concatenate([*behind.values()])
        return self._child([a, b], shown, self._message(opening, material, wish), step=f"{turn} merge")

    def _pair(self, front: Sequence[Prompt]) -> tuple[Prompt, Prompt] | None:
        """Two prompts of which neither descends from the other: those that could be the best one together."""

        def together(pair: tuple[Prompt, Prompt]) -> float:
            return mean(np.fmax(self._values(pair[0]), self._values(pair[1])))

        return max(filter(self._mergeable, combinations(front, 2)), key=together, default=None)

    def _mergeable(self, pair: tuple[Prompt, Prompt]) -> bool:
        a, b = pair
        lead = self._values(a) - self._values(b)
        related = a in self._ancestors[b] or b in self._ancestors[a]
        return not related and frozenset(pair) not in self._merged and bool((lead < 0).any() and (lead > 0).any())

    def _child(self, parents: Sequence[Prompt], shown: Indices, message: Message, *, step: str) -> Child | None:
        """What the LLM makes of parents, if that is new."""
        text = self._asker.last([message], self._rng)
        if text is None or Prompt(text) in self._ancestors:
            return None
        prompt = Prompt(text, {"step": step, "parents": [parent.text for parent in parents]})
        self._ancestors[prompt] = frozenset([prompt]).union(*(self._ancestors[parent] for parent in parents))
        rival = next(iter(self._ratings.ranked(parents)), parents[0])
        return Child(prompt, rival, shown)

    def _some(self, among: NDArray[np.bool_], n: int) -> Indices:
        """The places of some of the examples that are marked."""
        return self._rng.permutation(np.flatnonzero(among))[:n]

    def _told(self, prompt: Prompt, places: Indices, *, name: str = "", most: int = MOST) -> list[tuple[str, str]]:
        """What happened on some examples, as numbered and titled texts, as far as the scorer tells."""
        cases = [case for case in self._tried(prompt).cases_on(places) if case.value == case.value]
        shown = zip(cases, fitting(cases, self._examples, most=most), strict=False)
        told = [{**fields, "Score": f"{case.value:.4g}"} for case, fields in shown]
        return [(f"{title} {name}{n}", text) for n, one in enumerate(told, 1) for title, text in one.items()]

    def _message(self, opening: str, material: Sequence[tuple[str, str]], wish: str) -> Message:
        parts = [
            opening,
            f"What the {self._kind} is for: {self._task}" if self._task else "",
            RULE,
            quoted(material),
            wish,
            "It must work for inputs that were not seen: state rules, and quote none of these inputs.",
            PLACEHOLDER_RULE if self._kind == "template" else "",
            f"Write the whole {self._kind} at the end, between <prompt> and </prompt>.",
        ]
        return Message("user", "\n\n".join(filter(None, parts)))


def dominated(row: Array, values: Array) -> bool:
    """Whether some of ``(n_prompts, n_examples)`` values are nowhere below a row of them, and above it somewhere."""
    return bool((~(values < row).any(axis=1) & (values > row).any(axis=1)).any())
