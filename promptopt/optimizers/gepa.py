"""Reflection on what happened, and a Pareto front over examples: GEPA [Agrawal2025], by its authors' own package.

Lakshya A Agrawal et al., *GEPA: Reflective Prompt Evolution Can Outperform Reinforcement Learning*, 2025, arXiv
2507.19457. The search is that of the package ``gepa``, unchanged: ::

    candidates <- the starting prompt, rated on the valset
    repeat:
        parent <- a candidate of the Pareto front: one that is best on some example of the valset
        minibatch <- the next few examples of the trainset
        rate the parent on the minibatch -> what happened -> LLM: a new prompt
        rate the new prompt on the minibatch: if it is better there, rate it on the valset and keep it

It calls back where others ask, so it runs in a thread of its own, which stands still while the run answers its
questions and calls its LLM. So both are billed, written down, taken from the ledger when a run is resumed, and refused
when the budget ends.

============= ================== ============== ================================================================
parameter     gepa.optimize      default here   why it differs
============= ================== ============== ================================================================
trainset      the user's         all training   the run's dev split is for its final choice, and out of reach
valset        the trainset       all training   likewise
minibatch     3                  3
parents       pareto             pareto
acceptance    strict_improvement the same
proposals     1                  1
skip_perfect  True               True
perfect       1                  1
components    round_robin        the same       one part of the prompt after the other
use_merge     False              none
temperature   the LLM's own      1
seed          0                  the run's
stops         when it is told to the budget     and after 20 replies in a row without a new prompt
============= ================== ============== ================================================================

The message to the LLM is the package's, with what is shown of each example bounded and marked as data, and with the
task in the user's words. A reply that was refused, cut off or has no prompt that the target can take is no proposal.
Where the package needs a number and an example could not be scored for outside reasons, it is given the mean of the
others, so that the example decides nothing; where none could be scored, the lowest value so far. The incumbent is the
first prompt with the highest rating on all training examples, as the package's own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from ..checks import at_least, check_argument
from ..core import Case, ChatModel, Example, Prompt, Rate, Rating, Setup, TakesDemonstrations, Target
from ..demonstrations import PART as DEMONSTRATIONS
from ..errors import UnknownName, UserError, require
from ..parts import listed, parts_of, text_of
from ..text import between, quotation_mark
from ..vocabulary import PLACEHOLDER_RULE, is_template
from .bridge import Bridge
from .proposers.asking import Asker, beside
from .proposers.quoting import RULE
from .proposers.showing import by_id, fitting
from .steps import Ratings, RatingSearch, Search

if TYPE_CHECKING:
    from types import ModuleType

__all__ = ["Gepa"]

PARENTS = ("pareto", "current_best", "epsilon_greedy", "top_k_pareto")
ACCEPTANCE = ("strict_improvement", "improvement_or_equal")
COMPONENT = "prompt"  # what the package calls a prompt that is one text
REPLIES = 20  # in a row without a new prompt end the search
STREAM = int.from_bytes(b"gepa")
"""Key of the random stream that the LLM's seeds are from; the package draws from a generator of its own."""

TITLES = {"Input": "Inputs", "Output": "Generated Outputs", "Reason": "Feedback", "Right answer": "Right answer"}
"""What the package calls what happened."""

NO_CASES = "The scorer does not tell what happened on single examples, so gepa's LLM was shown their scores alone."
NO_VALUES = "This run keeps no values per example, so gepa's Pareto front held the best prompts alone."


class Gepa(RatingSearch):
    """The package ``gepa`` as an optimizer.

    The parts of a prompt are its components, but for those that are frozen and the ids of demonstrations: each time the
    next one is reflected on, and the LLM is shown the others too.

    Args:
        model: reflects and writes new prompts; billed to the run as ``proposer``.
        examples: the training examples; a run fills them in.
        task: what the prompts are for, in the user's words; told to the model.
        target: the run's, filled in by it; says whether a part holds ids of demonstrations.
        frozen: names of parts that stay as they are; a run fills them in.
        seed: of the package's own draws; a run gives its seed.
        minibatch: examples that a parent and its child are compared on, and whose cases are shown to the model.
        parents: which candidates the next ones are made from, in the package's words.
        acceptance: when a child is rated on all training examples, in the package's words.
        proposals: how many children are made from as many parents before the next are chosen.
        skip_perfect: whether a parent that is perfect on its minibatch has no child.
        perfect: the value of an example that leaves nothing to be learnt.
        temperature: of the model.

    Raises:
        UserError: a number is out of range, there are no examples, or two share an id.
        MissingExtra: the package is not installed.
    """

    knows_parts = True

    def __init__(
        self,
        *,
        model: ChatModel,
        examples: Sequence[Example] = (),
        task: str = "",
        target: Target | None = None,
        frozen: Sequence[str] = (),
        seed: int = 0,
        minibatch: int = 3,
        parents: Literal["pareto", "current_best", "epsilon_greedy", "top_k_pareto"] = "pareto",
        acceptance: Literal["strict_improvement", "improvement_or_equal"] = "strict_improvement",
        proposals: int = 1,
        skip_perfect: bool = True,
        perfect: float = 1.0,
        temperature: float = 1.0,
    ) -> None:
        at_least(1, minibatch=minibatch, proposals=proposals)
        check_argument("perfect", perfect, allowed="a finite number", holds=math.isfinite(perfect))
        for what, name, allowed in (("parents", parents, PARENTS), ("acceptance", acceptance, ACCEPTANCE)):
            if name not in allowed:
                raise UnknownName(what, name, allowed)
        self._gepa = require("gepa", extra="gepa")
        self._asker = Asker(model, temperature=temperature)
        self._examples = by_id(examples)
        self._ids = list(self._examples)
        self._task = task.strip()
        ids = isinstance(target, TakesDemonstrations) and target.takes_demonstrations
        self._kept = {*frozen, *([DEMONSTRATIONS] if ids else [])}
        self.perfect = perfect
        self.proposals = proposals
        self.options = {
            "seed": seed,
            "reflection_minibatch_size": minibatch,
            "candidate_selection_strategy": parents,
            "acceptance_criterion": acceptance,
            "skip_perfect_score": skip_perfect,
            "perfect_score": perfect,
        }
        self._bridge: Bridge | None = None

    def begin(self, setup: Setup, /) -> None:
        """Start afresh.

        Raises:
            UserError: there is no starting prompt, or no text in it that may change.
        """
        self.close()
        parts = parts_of(setup.start[0].text) if setup.start else {}
        if parts and {*parts} <= self._kept:
            raise UserError(f"gepa writes texts, and may change none: the start has {listed(parts)}.")
        self._setup = setup
        self._ratings = Ratings(setup.start)
        self._rng = setup.rng(STREAM)
        self._asker.begin(setup)
        self._made = {prompt.text: prompt for prompt in setup.start}
        self._answers: dict[Rate, Rating] = {}
        self._least = math.inf
        self._stale = 0
        self._search = self._evolve()

    def tell(self, answered: Sequence[tuple[Rate, Rating]], /) -> None:
        """Take ratings; prompts are compared by those on all training examples."""
        self._answers.update(answered)
        self._ratings.add((question, rating) for question, rating in answered if not question.on)
        for _, rating in answered:
            self._least = min([self._least, *(value for value in _values(rating, 1) if value == value)])

    def close(self) -> None:
        """End the package's thread; the search is over."""
        if self._bridge:
            self._bridge.close()
            self._bridge = None

    # ── The search ────────────────────────────────────────────────────────────────────────────────────────────────

    def _evolve(self) -> Search:
        """What the package wants done, one thing after the other, until it brings nothing new any more."""
        yield self._ratings.missing(self._setup.start)
        start = Rate(self._ratings.best)
        work = partial(optimize, self._gepa, self._components(start), len(self._ids), self.proposals, self.options)
        bridge = self._bridge = Bridge(work)
        try:
            bridge.answer([self._evaluated(one, start) for one in bridge.request()])
            while (request := bridge.request()) is not None and self._stale < REPLIES:
                if isinstance(request, Reflection):
                    bridge.answer(self._reflected(request))
                else:
                    questions = [self._question(one) for one in request]
                    self._answers.clear()
                    yield questions
                    bridge.answer([self._evaluated(*pair) for pair in zip(request, questions, strict=True)])
        finally:
            bridge.stop()

    def _components(self, start: Rate) -> Components:
        """What the package may change of the starting prompt."""
        return Components(start.prompt.text, [part for part in parts_of(start.prompt.text) if part not in self._kept])

    # ── Evaluations ───────────────────────────────────────────────────────────────────────────────────────────────

    def _question(self, wanted: Evaluation) -> Rate:
        places = dict.fromkeys(wanted.places)  # the package fills up a minibatch that is larger than the trainset
        on = () if len(places) == len(self._ids) else tuple(self._ids[i] for i in places)
        return Rate(self._made[wanted.text], on, cases=wanted.cases)

    def _evaluated(self, wanted: Evaluation, question: Rate) -> Evaluated:
        """A number for each example that the package asked about, and what happened on it if it wants to know."""
        rating = self._answers.get(question, Rating(math.nan))
        on = question.on or self._ids
        values = dict(zip(on, _values(rating, len(on)), strict=True))
        cases = {case.example: case for case in rating.cases}
        if wanted.cases and rating.value == rating.value:
            for lacking, note in ((not cases, NO_CASES), (rating.per_example is None, NO_VALUES)):
                if lacking:
                    self._setup.note(note)
        ids = [self._ids[i] for i in wanted.places]
        return Evaluated(
            [self._number(values[one], rating) for one in ids],
            [cases.get(one, Case(one, None, values[one])) for one in ids] if wanted.cases else None,
        )

    def _number(self, value: float, rating: Rating) -> float:
        """A value, or what stands for one that there is not for outside reasons."""
        known = (one for one in (value, rating.value, self._least) if math.isfinite(one))
        return next(known, 0.0)

    # ── Reflection ────────────────────────────────────────────────────────────────────────────────────────────────

    def _reflected(self, wanted: Reflection) -> str | None:
        """A new text for the part; None where the LLM's reply holds none that the target can take."""
        self._stale += 1
        for reply in self._asker.replies(self._message(wanted), self._rng, n=1):
            new: str = self._signature.output_extractor(reply)["new_instruction"]
            text = text_of({**parts_of(wanted.text), wanted.part: new}) if wanted.part else new
            if not new or self._setup.problem_with(Prompt(text)) is not None:
                self._setup.count("unparsable replies")
                return None
            if text not in self._made:
                part = {"part": wanted.part} if wanted.part else {}
                step = f"reflection {len(self._made)}"
                self._made[text] = Prompt(text, {"step": step, **part, "parents": [wanted.text]})
                self._stale = 0
            return new
        return None

    def _message(self, wanted: Reflection) -> str:
        shown = fitting(wanted.cases, self._examples)
        mark = quotation_mark(text for one in shown for text in one.values())
        told = [{TITLES[title]: between(text, mark=mark) for title, text in one.items()} for one in shown]
        for one, case in zip(told, wanted.cases, strict=False):
            one["Score"] = f"{case.value:.4g} of {self.perfect:g}"
        parts = parts_of(wanted.text) if wanted.part else {}
        others = {name: text for name, text in parts.items() if name != wanted.part}
        given = {"current_instruction_doc": parts.get(wanted.part, wanted.text), "dataset_with_feedback": told}
        message = [
            beside(wanted.part, others) if others else "",
            f"What the instructions are for: {self._task}" if self._task else "",
            f"{RULE} The mark is {mark}.",
            self._signature.prompt_renderer(given),
            PLACEHOLDER_RULE if is_template(self._setup) else "",
        ]
        return "\n\n".join(filter(None, message))

    @property
    def _signature(self) -> Any:
        """The package's own wording, and its way of reading a reply."""
        return require("gepa.strategies.instruction_proposal", extra="gepa").InstructionProposalSignature


def _values(rating: Rating, n: int) -> list[float]:
    return [rating.value] * n if rating.per_example is None else rating.per_example.tolist()


# ── What the package calls back ───────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Evaluation:
    """The package wants a prompt rated on the examples at some places, and to know what happened if ``cases``.

    ``text`` is that of the whole prompt.
    """

    text: str
    places: Sequence[int]
    cases: bool


@dataclass(frozen=True)
class Evaluated:
    """A number for each of these examples, and what happened on it."""

    values: list[float]
    cases: list[Case] | None


@dataclass(frozen=True)
class Reflection:
    """The package wants a new text for one part of a prompt to which this happened; ``""`` where it is one text."""

    text: str
    part: str
    cases: Sequence[Case]


@dataclass(frozen=True)
class Components:
    """What the package may change of a starting prompt: some of its parts, or all of it, if that is one text."""

    start: str
    parts: Sequence[str]

    @property
    def first(self) -> dict[str, str]:
        """The package's first candidate."""
        whole = parts_of(self.start)
        return {part: whole[part] for part in self.parts} or {COMPONENT: self.start}

    def prompt(self, candidate: Mapping[str, str]) -> str:
        """The text of a candidate's prompt."""
        return text_of({**parts_of(self.start), **candidate}) if self.parts else candidate[COMPONENT]

    def part(self, component: str) -> str:
        """The part that the package calls so; ``""`` for a prompt that is one text."""
        return component if self.parts else ""


def optimize(
    gepa: ModuleType,
    components: Components,
    n_examples: int,
    proposals: int,
    options: Mapping[str, Any],
    ask: Callable[[Any], Any],
) -> None:
    """Have the package search without an end.

    Args:
        gepa: the package.
        components: what it begins with.
        options: for ``gepa.optimize``.
        ask: has something done, and returns what came of it.
    """
    adapter = Adapter(gepa, components, ask)
    sampling = require("gepa.strategies.proposal_sampling", extra="gepa").IndependentSampling
    gepa.optimize(
        components.first,
        trainset=[(i, True) for i in range(n_examples)],
        valset=[(i, False) for i in range(n_examples)],
        adapter=adapter,
        custom_candidate_proposer=adapter.reflect,
        sampling_strategy=sampling(proposals) if proposals > 1 else None,
        stop_callbacks=lambda state: False,
        logger=Silent(),
        track_best_outputs=False,
        **options,
    )


class Adapter:
    """The package's way to evaluate prompts; an example is its place, and whether its case is wanted.

    Args:
        gepa: the package.
        components: what a candidate is of a prompt.
        ask: has something done, and returns what came of it.
    """

    propose_new_texts = None  # the package looks for it

    def __init__(self, gepa: ModuleType, components: Components, ask: Callable[[Any], Any]) -> None:
        self._gepa = gepa
        self._components = components
        self._ask = ask

    def batch_evaluate(self, items: Iterable[tuple[dict[str, str], list[tuple[int, bool]]]]) -> list[Any]:
        """Several prompts, each on examples of its own."""
        wanted = [
            Evaluation(
                self._components.prompt(candidate), [place for place, _ in batch], any(cases for _, cases in batch)
            )
            for candidate, batch in items
        ]
        return [
            self._gepa.EvaluationBatch(outputs=one.values, scores=one.values, trajectories=one.cases)
            for one in self._ask(wanted)
        ]

    def evaluate(self, batch: list[tuple[int, bool]], candidate: dict[str, str], capture_traces: bool = False) -> Any:
        """One prompt."""
        return self.batch_evaluate([(candidate, batch)])[0]

    def make_reflective_dataset(
        self, candidate: dict[str, str], eval_batch: Any, components_to_update: list[str]
    ) -> dict[str, list[dict[str, Case]]]:
        """What happened, for :meth:`reflect`."""
        told = [{"case": case} for case in eval_batch.trajectories]
        return dict.fromkeys(components_to_update, told)

    def reflect(
        self, candidate: dict[str, str], reflective_dataset: Mapping[str, Any], components_to_update: list[str]
    ) -> dict[str, str]:
        """A new text for the component whose turn it is; nothing where there is none."""
        (component,) = components_to_update
        cases = [one["case"] for one in reflective_dataset[component]]
        text = self._ask(Reflection(self._components.prompt(candidate), self._components.part(component), cases))
        return {} if text is None else {component: text}


class Silent:
    """A log that keeps nothing: the ledger has it all."""

    def log(self, message: str) -> None:
        """Nothing."""
