"""Optimization by prompting: an LLM continues the ranked trajectory of a search [Yang2023].

Yang et al., *Large Language Models as Optimizers*, ICLR 2024, arXiv 2309.03409. ::

    trajectory <- the starting prompts, rated
    repeat steps times:
        meta-prompt <- the best prompts so far with their scores, ascending, so that the best stands last,
                       beside a few training examples drawn anew
        new <- the LLM's replies to it, one prompt each
        trajectory <- trajectory + new, rated

Rows marked † were read in the released code.

================ ============== =================== ============ ===============================================
parameter        paper          code †              here         why it differs
================ ============== =================== ============ ===============================================
steps            up to 200      200                 200          the budget mostly ends it before
per_step         several        8                   8
shown            not stated     20                  20
exemplars        several        3                   3
temperature      not stated     1                   1
which exemplars  at random      at random; or those at random
                                most often wrong
scores           integers       100 buckets         four digits  a metric may have any range
least score      not stated     0 or 0.3, by model  none         likewise
longest prompt   not stated     500 characters      none         starting prompts are often longer
place of prompt  shown by <INS> shown by <INS>      not shown    the target knows it, the optimizer does not
================ ============== =================== ============ ===============================================

The paper's column is from summaries of it and its first figures; "not stated" is what could not be looked up. We differ
in that the replies of a step come from one call, where the provider can sample several; that the search ends after five
steps in a row without a new prompt; and that texts of more than 2,000 characters are shown by their beginning and end.
The code may rate a validation split every third step; here no other split than the training examples is within reach.
The wording is ours.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..checks import at_least
from ..core import ChatModel, Example, Message, Prompt, Setup
from ..text import shortened
from ..vocabulary import PLACEHOLDER_RULE, is_template
from .pools.fresh import CALLS
from .proposers.asking import Asker
from .proposers.quoting import LONGEST, RULE, list_format, pairs, quoted, readable
from .steps import Ratings, RatingSearch, Search

__all__ = ["Opro"]


class Opro(RatingSearch):
    """An LLM is shown the best prompts so far with their scores, the best last, and examples of the task.

    Args:
        model: writes the prompts; billed to the run as ``proposer``.
        examples: what the exemplars are drawn from; a run offers its training examples. Pictures are not shown.
        steps: how often the LLM is asked.
        per_step: replies to each meta-prompt, of one prompt each.
        shown: prompts of the trajectory that are shown at the most.
        exemplars: examples that are shown beside them, drawn anew at each step; 0 shows none.
        temperature: of the model.
        task: what the prompts are for, in the user's words; told to the model.

    Raises:
        UserError: a number is out of range.
    """

    def __init__(
        self,
        *,
        model: ChatModel,
        examples: Sequence[Example] = (),
        steps: int = 200,
        per_step: int = 8,
        shown: int = 20,
        exemplars: int = 3,
        temperature: float = 1.0,
        task: str = "",
    ) -> None:
        at_least(1, steps=steps, per_step=per_step, shown=shown)
        at_least(0, exemplars=exemplars)
        self._asker = Asker(model, temperature=temperature)
        self._examples = readable(examples)
        self.steps, self.per_step = steps, per_step
        self.shown, self.exemplars = shown, min(exemplars, len(self._examples))
        self._task = task.strip()

    def begin(self, setup: Setup, /) -> None:
        """Start afresh and bill the model to this run.

        Raises:
            UserError: there is no starting prompt.
        """
        self._setup = setup
        self._ratings = Ratings(setup.start)
        self._trajectory: dict[Prompt, None] = dict.fromkeys(setup.start)
        self._rng = setup.rng()
        self._asker.begin(setup)
        self._search = self._optimize()

    def _optimize(self) -> Search:
        yield from self._rate(self._setup.start)
        idle = 0
        for step in range(self.steps):
            best = self._ratings.ranked(self._trajectory)[: self.shown]
            exemplars = self._drawn()
            texts = self._asker.each([Message("user", self._ask(best[::-1], exemplars))], self._rng, n=self.per_step)
            origin = {"step": str(step), "parents": [prompt.text for prompt in best]}
            new = [prompt for text in dict.fromkeys(texts) if (prompt := Prompt(text, origin)) not in self._trajectory]
            idle = 0 if new else idle + 1
            if idle == CALLS:
                return
            self._trajectory |= dict.fromkeys(new)
            yield from self._rate(new)

    def _drawn(self) -> list[Example]:
        """The exemplars of a step, in the order of the training examples."""
        places = self._rng.choice(len(self._examples), self.exemplars, replace=False) if self.exemplars else ()
        return [self._examples[i] for i in sorted(places)]

    def _ask(self, trajectory: Sequence[Prompt], exemplars: Sequence[Example]) -> str:
        """The meta-prompt.

        Args:
            trajectory: worst first.
        """
        kind = "template" if is_template(self._setup) else "instruction"
        tried = [(self._title(kind, prompt), shortened(prompt.text, most=LONGEST)) for prompt in trajectory]
        parts = [
            f"You are looking for the {kind} that scores highest."
            + (f" What it is for: {self._task}" if self._task else ""),
            f"Below are {kind}s that were tried, each with its score. A higher score is better, and they stand in "
            "ascending order: the last is the best so far."
            if tried
            else "",
            f"Behind the {kind}s are examples of the task: an input, and the output that is right for it."
            if exemplars and tried
            else "Below are examples of the task: an input, and the output that is right for it."
            if exemplars
            else "",
            f"{RULE}\n\n{quoted([*tried, *pairs(exemplars)])}" if tried or exemplars else "",
            f"Write one new {kind} that differs from all that you were shown and that will score higher than any of "
            "them. Be concise, and let it work for inputs that were not seen.",
            PLACEHOLDER_RULE if kind == "template" else "",
            list_format(kind),
        ]
        return "\n\n".join(filter(None, parts))

    def _title(self, kind: str, prompt: Prompt) -> str:
        return f"{kind.capitalize()} with score {self._ratings[prompt].value:.4g}"
