"""Steps that a target is to take, and the step corrected at which it failed: behaviour optimization [Ma2024].

Ruotian Ma et al., *Are Large Language Models Good Prompt Optimizers?*, 2024, arXiv 2402.02101. The paper looks at
searches in which an LLM reflects on why outputs are wrong and rewrites the prompt. Its findings against these: the LLM
hardly finds the true causes, since it reflects its own prior knowledge rather than the errors; and even after a
reflection that makes sense, one rewriting often does not bring a prompt that the target follows, whose behaviour cannot
be foreseen. What it proposes instead is to optimize what the target *does*, "Automatic Behavior Optimization". ::

    drafts <- LLM: the starting prompt as numbered steps, which the target is to write down one by one; rated
    repeat rounds times:
        parent <- the best prompt of steps so far, of equally good ones the latest
        repeat corrections times:
            some of the parent's wrong cases, with what the target wrote at each step
            -> LLM: the first step that it did not take, or took wrongly, worded so that it will
            child <- the parent with that one step exchanged
        the children are rated

============ ============ ============ =========================================================================
parameter    paper        default here why
============ ============ ============ =========================================================================
drafts       not stated   2
rounds       not stated   10
corrections  not stated   4            the calls of a round are made for one parent
errors       not stated   3            wrong cases in a message, drawn anew for each
temperature  not stated   1
============ ============ ============ =========================================================================

"Not stated" is what could not be looked up: the paper's text beyond its abstract was not at hand, and no code is known
to us. So all but the idea is ours: that the steps stand behind the starting prompt, which stays as it is; that a
correction names one step, so that nothing else in the prompt can change (one without a number is taken as a further
step at the end); that of equally good prompts the latest is corrected further, since an output is right only once all
of its steps are; that no cause is asked for; and the wording.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from ..checks import at_least, check_argument
from ..core import Case, ChatModel, Example, Message, Prompt, Prompted, Setup
from ..errors import UserError
from ..text import shortened
from ..vocabulary import is_template
from .pools.fresh import CALLS
from .proposers.asking import Asker
from .proposers.quoting import LONGEST, RULE, list_format, pairs, quoted, readable
from .proposers.showing import by_id, told, wrong
from .steps import Ratings, RatingSearch, Search

__all__ = ["Behaviour", "Steps"]

HEAD = "Take these steps one after the other, and write down for each of them what comes of it:"
ENDING = "Then write the answer alone in a last line."
NUMBERED = re.compile(r"(?:step )?(\d{1,3}) ?[:.)]\s*(\S.*)", re.IGNORECASE | re.DOTALL)
MOST_STEPS = 20  # of a prompt
NO_CASES = (
    "The scorer does not tell what happened on single examples, so behaviour could not see which step failed: it "
    "drafted steps only."
)


@dataclass(frozen=True)
class Steps:
    """A prompt of steps.

    Attributes:
        task: what stands before them: a starting prompt.
        steps: their texts, of one line each.
        ending: what stands behind them.
    """

    task: str
    steps: tuple[str, ...]
    ending: str

    @property
    def text(self) -> str:
        """The prompt."""
        numbered = [f"{number}. {step}" for number, step in enumerate(self.steps, 1)]
        return "\n".join(filter(None, [self.task and f"{self.task}\n", HEAD, *numbered, self.ending]))

    def corrected(self, correction: str) -> Steps | None:
        """The same with one step exchanged, ``step 2: new text``, or one more, a text alone; None if it is neither."""
        line = " ".join(correction.split())
        if not (numbered := NUMBERED.fullmatch(line)):
            return replace(self, steps=(*self.steps, line)) if line and len(self.steps) < MOST_STEPS else None
        place = int(numbered[1]) - 1
        if not 0 <= place < len(self.steps):
            return None
        return replace(self, steps=(*self.steps[:place], numbered[2], *self.steps[place + 1 :]))


class Behaviour(RatingSearch):
    """The starting prompt as steps that the target writes down, corrected step by step where an output shows a mistake.

    Every rating asks what happened (``Rate.cases``). What is shown of it to the LLM is bounded and marked as data.

    Args:
        model: drafts the steps and corrects them; billed to the run as ``proposer``.
        examples: the training examples; a run fills them in.
        drafts: how many lists of steps are written to begin with.
        rounds: how often steps are corrected.
        corrections: of the best prompt, in a round.
        errors: wrong cases that each of them is made from.
        perfect: a case with a lower value is wrong.
        ending: what stands behind the steps, so that the metric finds the answer; a line of its own by default.
        temperature: of the model.
        task: what the prompts are for, in the user's words; told to the model.

    Raises:
        UserError: a number is out of range, there are no examples, or two share an id.
    """

    def __init__(
        self,
        *,
        model: ChatModel,
        examples: Sequence[Example],
        drafts: int = 2,
        rounds: int = 10,
        corrections: int = 4,
        errors: int = 3,
        perfect: float = 1.0,
        ending: str = ENDING,
        temperature: float = 1.0,
        task: str = "",
    ) -> None:
        at_least(1, drafts=drafts, corrections=corrections, errors=errors)
        at_least(0, rounds=rounds)
        check_argument("perfect", perfect, allowed="a number", holds=perfect == perfect)
        self._asker = Asker(model, temperature=temperature)
        self._examples = by_id(examples)
        self._readable = readable(examples)
        self.drafts, self.rounds, self.corrections, self.errors = drafts, rounds, corrections, errors
        self.perfect, self.ending = perfect, ending.strip()
        self._task = task.strip()

    def check(self, run: Prompted, /) -> None:
        """Whether the prompts can be steps.

        Raises:
            UserError: they are templates.
        """
        if is_template(run):
            raise UserError(
                "behaviour writes steps for a target to take, and the prompts are templates with {}. Give "
                'optimizer = "hill-climb" or "opro".'
            )

    def begin(self, setup: Setup, /) -> None:
        """Start afresh and bill the model to this run.

        Raises:
            UserError: there is no starting prompt.
        """
        self._setup = setup
        self._ratings = Ratings(setup.start)
        self._rng = setup.rng()
        self._made: dict[Prompt, Steps] = {}
        self._asker.begin(setup)
        self._search = self._correct()

    def _correct(self) -> Search:
        yield from self._happened(self._setup.start)
        yield from self._happened(list(self._drafted()))
        idle = 0
        for number in range(self.rounds):
            if not (ranked := self._ratings.ranked(reversed(self._made))):
                return
            parent = ranked[0]
            if not (mistakes := self._mistakes(parent)):
                return
            new = list(self._children(parent, mistakes, step=f"correction {number}"))
            idle = 0 if new else idle + self.corrections
            if idle >= CALLS:
                return
            yield from self._happened(new)

    def _happened(self, prompts: Sequence[Prompt]) -> Search:
        """Ask about those that have not been rated, and what happened on each example."""
        if questions := [replace(question, cases=True) for question in self._ratings.missing(prompts)]:
            yield questions

    def _mistakes(self, prompt: Prompt) -> list[Case]:
        cases = self._ratings[prompt].cases
        if not cases:
            self._setup.note(NO_CASES)
        return [case for case in wrong(cases, perfect=self.perfect) if case.example in self._examples]

    # ── What the LLM writes ───────────────────────────────────────────────────────────────────────────────────────

    def _drafted(self) -> Iterator[Prompt]:
        """Lists of steps; where there are several starting prompts, for the best of them."""
        start = next(iter(self._ratings.ranked(self._setup.start)), self._setup.start[0])
        for _ in range(self.drafts):
            steps = self._list(self._draft(start.text))[:MOST_STEPS]
            if steps:
                made = Steps(start.text, tuple(" ".join(step.split()) for step in steps), self.ending)
                yield from self._fresh([made], step="draft", parent=start)

    def _children(self, parent: Prompt, mistakes: Sequence[Case], *, step: str) -> Iterator[Prompt]:
        """The parent with a step corrected, each by other mistakes."""
        for _ in range(self.corrections):
            shown = [mistakes[i] for i in sorted(self._rng.permutation(len(mistakes))[: self.errors])]
            corrected = [self._made[parent].corrected(text) for text in self._list(self._correction(parent, shown))[:1]]
            yield from self._fresh(corrected, step=step, parent=parent)

    def _fresh(self, made: Sequence[Steps | None], *, step: str, parent: Prompt) -> Iterator[Prompt]:
        """As prompts, those that are new and that the target can take."""
        for steps in filter(None, made):
            prompt = Prompt(steps.text, {"step": step, "parents": [parent.text]})
            if prompt not in self._made and prompt not in self._ratings and self._setup.problem_with(prompt) is None:
                self._made[prompt] = steps
                yield prompt

    def _list(self, message: str) -> list[str]:
        return self._asker.texts([Message("user", message)], self._rng, problem_with=lambda text: None)[1]

    def _draft(self, start: str) -> str:
        places = self._rng.permutation(len(self._readable))[: self.errors]
        shown = [("Instruction", shortened(start, most=LONGEST)), *pairs([self._readable[i] for i in sorted(places)])]
        parts = [
            "A model is to follow the instruction below. Behind it are inputs, each with the output that is right.",
            f"What it is for: {self._task}" if self._task else "",
            RULE,
            quoted(shown),
            "Write down, as a list of steps, what the model has to do with any such input to come to the right output. "
            "Each step says one thing to do and what to write down of it, so plainly that anybody could see in what is "
            "written whether the step was taken. Name none of these inputs.",
            list_format("step"),
        ]
        return "\n\n".join(filter(None, parts))

    def _correction(self, parent: Prompt, shown: Sequence[Case]) -> str:
        parts = [
            "A model was told to take the numbered steps below. For the inputs behind them it wrote these outputs, "
            "which are wrong or not as good as they could be.",
            f"What the steps are for: {self._task}" if self._task else "",
            RULE,
            quoted([("Steps", shortened(parent.text, most=2 * LONGEST)), *told(shown, self._examples)]),
            "Go through the outputs step by step, and find the first step that was not taken, or not as it says. Do "
            "not ask why. Word that one step anew, so that the model will take it rightly: say more exactly what to do "
            "and what to write down. It must work for inputs that were not seen, so quote none of these.",
            'Answer only with a list of one line, which begins with "- step ", its number and a colon, followed by the '
            "new text. If a step is missing at the end, write its text alone.",
        ]
        return "\n\n".join(filter(None, parts))
