"""Instructions induced from examples alone, and the best of them resampled: APE [Zhou2023].

Yongchao Zhou et al., *Large Language Models Are Human-Level Prompt Engineers*, ICLR 2023, arXiv 2211.01910. ::

    candidates <- the starting prompts, if there are any
    until there are enough: candidates + LLM: which instruction leads from these inputs to these outputs?
    repeat rounds times:
        each candidate is rated on the same random part of the training examples
        kept <- the top share of them
        candidates <- kept + the LLM's paraphrases of them, as many as are missing
    kept and the first start are rated on all training examples; the best there is the answer

Rows marked † were read in the released code.

=============== ================== =============================== ============ ====================================
parameter       paper              code †                          here         why it differs
=============== ================== =============================== ============ ====================================
candidates      not stated         90, 250; 50 in the simple form  20           in a budget of some hundred ratings
shown           not stated         5                               5
calls           not stated         3 or 5 subsets of examples      4            in proportion to the candidates
per call        not stated         30 or 50 replies                5 replies    likewise
temperature     not stated         0.9                             0.9
form            not stated         forward, insert                 forward      chat models write behind their text
subset          not stated         30 or 50; UCB: 5                20           small data sets
score           not stated         accuracy or likelihood          the run's    any metric or scorer rates
top             not stated         no rounds                       0.2
rounds          may be repeated    one                             3
part of the     not stated         drawn for each prompt           one a round  prompts are compared on the same
examples                                                                        examples
=============== ================== =============================== ============ ====================================

"Not stated" is what could not be looked up. We differ from the code in that a starting prompt competes where there is
one, in that its bandit is not here (the optimizer ``racing`` around this one drops losers by a test), and in that texts
of more than 2,000 characters are shown by their beginning and end. The wording is ours.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ..checks import at_least, check_argument
from ..core import ChatModel, Example, Message, Prompt, Prompted, Rate, Rating, Setup
from ..errors import UserError
from ..vocabulary import is_template
from .pools.fresh import CALLS
from .pools.written import inducing, paraphrased
from .proposers.asking import Asker
from .proposers.quoting import LONGEST, readable
from .steps import Ratings, RatingSearch, Search

__all__ = ["Ape"]


class Ape(RatingSearch):
    """An LLM induces instructions from examples; the best on a part of them are paraphrased and rated again.

    It needs no starting prompt. Then the best prompt is compared with the first that the search tried, which is what
    the LLM would have written if it had been asked once.

    Args:
        model: induces and paraphrases; billed to the run as ``proposer``.
        examples: what is induced from; a run offers its training examples. Pictures are not shown.
        candidates: how many prompts each round begins with.
        shown: examples shown in a call, drawn anew for each.
        per_call: replies to a call, of one instruction each.
        subset: examples that a round rates on, drawn anew for each; all of them where there are no more.
        top: the share of the candidates that a round keeps, in (0, 1]; one prompt at the least.
        rounds: how often candidates are rated, the last time to choose those that are rated on all examples.
        temperature: of the model.
        task: what the prompts are for, in the user's words; told to the model.

    Raises:
        UserError: a number is out of range, or there are no examples that can be shown.
    """

    def __init__(
        self,
        *,
        model: ChatModel,
        examples: Sequence[Example],
        candidates: int = 20,
        shown: int = 5,
        per_call: int = 5,
        subset: int = 20,
        top: float = 0.2,
        rounds: int = 3,
        temperature: float = 0.9,
        task: str = "",
    ) -> None:
        at_least(1, candidates=candidates, shown=shown, per_call=per_call, subset=subset, rounds=rounds)
        check_argument("top", top, allowed="a share above 0, up to 1", holds=0 < top <= 1)
        self._asker = Asker(model, temperature=temperature)
        self._ids = [example.id for example in examples]
        self._examples = readable(examples)
        if not self._examples:
            raise UserError("there are no examples whose input is a text, and ape induces instructions from such.")
        self.candidates, self.per_call, self.shown = candidates, per_call, min(shown, len(self._examples))
        self.subset, self.top, self.rounds = subset, top, rounds
        self._task = task.strip()

    @property
    def begins_alone(self) -> bool:
        """It begins with the examples."""
        return True

    def check(self, run: Prompted, /) -> None:
        """Whether the prompts can be instructions.

        Raises:
            UserError: they are templates.
        """
        if is_template(run):
            raise UserError(
                "ape induces instructions, and the prompts are templates with {}. Have them written by hill-climb, "
                "opro or evoprompt."
            )

    def begin(self, setup: Setup, /) -> None:
        """Start afresh and bill the model to this run."""
        self._setup = setup
        self._ratings = Ratings(setup.start, alone=True)
        self._round = Ratings(setup.start, alone=True)
        self._leader = self._ratings.best
        self._known: dict[Prompt, None] = dict.fromkeys(setup.start)
        self._rng = setup.rng()
        self._asker.begin(setup)
        self._search = self._resample()

    def tell(self, answered: Sequence[tuple[Rate, Rating]], /) -> None:
        """Take ratings, on a part of the examples or on all."""
        self._ratings.add(pair for pair in answered if not pair[0].on)
        self._round.add(answered)
        self._leader = next(iter(self._round.ranked([self._round.best])), self._leader)

    def best(self) -> Prompt:
        """The highest rated on all examples; until one is rated there, the highest of the last round that rated any."""
        return next(iter(self._ratings.ranked([self._ratings.best])), self._leader)

    # ── The search ────────────────────────────────────────────────────────────────────────────────────────────────

    def _resample(self) -> Search:
        kept = list(self._setup.start)
        for number in range(self.rounds):
            self._round, on = Ratings(kept, alone=True), self._part()
            yield from self._asked(kept, on)
            candidates, missing = list(kept), self.candidates - len(kept)
            for new in self._paraphrased(kept, missing, step=number) if number else self._induced(missing):
                self._known |= dict.fromkeys(new)
                candidates += new
                yield from self._asked(new, on)
            ranked = (self._round if on else self._ratings).ranked(candidates)
            kept = ranked[: max(1, round(self.top * len(candidates)))]
        yield from self._rate([*self._setup.start[:1], *kept])

    def _asked(self, prompts: Sequence[Prompt], on: tuple[str, ...]) -> Search:
        """Ask about prompts on a part of the examples; on all of them about those alone that were not rated there."""
        if questions := [Rate(prompt, on) for prompt in prompts] if on else self._ratings.missing(prompts):
            yield questions

    def _part(self) -> tuple[str, ...]:
        """The ids of the examples of a round, in their order; none stand for all."""
        if self.subset >= len(self._ids):
            return ()
        places = self._rng.choice(len(self._ids), self.subset, replace=False)
        return tuple(self._ids[i] for i in sorted(places))

    def _induced(self, wanted: int) -> Iterator[list[Prompt]]:
        """Instructions that the LLM reads out of examples, call by call; fewer where it repeats itself."""
        idle = 0
        while wanted > 0 and idle < CALLS:
            places = self._rng.choice(len(self._examples), self.shown, replace=False)
            message = inducing([self._examples[i] for i in places], n=1, task=self._task, most=LONGEST)
            texts = self._asker.each([Message("user", message)], self._rng, n=min(self.per_call, wanted))
            every = (Prompt(text, {"step": "induced"}) for text in dict.fromkeys(texts))
            new = [prompt for prompt in every if prompt not in self._known]
            wanted, idle = wanted - len(new), 0 if new else idle + 1
            yield new

    def _paraphrased(self, kept: Sequence[Prompt], wanted: int, *, step: int) -> Iterator[list[Prompt]]:
        how: dict[str, Any] = {"asker": self._asker, "rng": self._rng, "task": self._task}
        return paraphrased(kept, wanted=wanted, known=self._known, step=f"paraphrase {step}", **how)
