"""Textual gradients from wrong cases, and a beam that a bandit selects: ProTeGi [Pryzant2023].

Reid Pryzant et al., *Automatic Prompt Optimization with "Gradient Descent" and Beam Search*, EMNLP 2023, arXiv
2305.03495. An LLM is told what a prompt got wrong, says why (the gradient), and edits the prompt accordingly. ::

    beam <- the starting prompts
    repeat rounds times:
        minibatch <- random training examples
        for each prompt of the beam:
            wrong <- what it gets wrong of the minibatch
            repeat gradients times: some of the wrong cases -> LLM: reasons; each reason -> LLM: edited prompts
            the prompt and each edit -> LLM: paraphrases (the Monte Carlo step)
            a random few of all these are its successors
        beam <- the best of the beam and the successors, found on few examples each
        the first of the beam is rated on what is left of the training split; the best one so rated is the answer

Rows marked † were read in the released code. "Not stated" is what could not be looked up: the paper's text was not at
hand, but for its abstract.

============ =============== ================================== ============== =====================================
parameter    paper           released code †                    default here   why it differs
============ =============== ================================== ============== =====================================
rounds       not stated      6                                  6
beam         not stated      4                                  4
minibatch    not stated      64                                 64
gradients    not stated      4 groups of errors                 4
errors       not stated      4 in a group                       4
reasons      not stated      1 of each group                    1
edits        not stated      1 of each reason                   1
paraphrases  not stated      2 of each                          2
successors   not stated      8                                  8
selection    bandits         brute force; ucb, ucb-e, successive ucb            brute force rates most where least is
                             rejects, successive halving                       to be learnt
evaluations  not stated      2,048 a round                      640            in proportion to a training split of
                                                                               some dozens
sample       not stated      32                                 8              likewise
arms         not stated      8                                  8
exploration  not stated      1                                  1
temperature  not stated      0.7                                0.7
============ =============== ================================== ============== =====================================

We differ from the released code, which evaluates the test split each round, in that the test split is out of reach. It
takes any two labels that differ for an error; here a case is wrong whose value is below ``perfect``, and the reason
that the metric gives is shown with it. It draws new examples for each look of the bandit; here they come in one order a
round, so that prompts are compared on the same ones, and no prompt is rated twice on one. There the first of a beam is
the answer, whatever its few examples; here prompts are compared as answers on all training examples only. The bound of
``ucb`` counts examples where the code counts looks, and is the mean itself once all examples were seen. ``racing`` is
ours: its test is that of the optimizer ``racing``. The wording is ours.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

from ..checks import at_least, check_argument
from ..core import Case, ChatModel, Example, Message, Prompt, Rate, Setup
from ..errors import UnknownName
from ..stats import mean
from ..vocabulary import PLACEHOLDER_RULE, is_template
from .pools.written import paraphrasing
from .proposers.asking import Asker
from .proposers.quoting import RULE, list_format, quoted
from .proposers.showing import told, wrong
from .racing import clearly_worse
from .steps import Search
from .tries import TriesSearch, looks

if TYPE_CHECKING:
    from ..core import Indices

__all__ = ["ProTeGi"]

Selected: TypeAlias = Generator[list[Rate], None, list[Prompt]]
"""Batches of questions, and in the end the prompts that are left."""

ERROR = 0.05  # the probability with which racing may drop one that belongs into the beam
LONGEST = 300  # characters of a reason that is kept with a prompt

NO_CASES = (
    "The scorer does not tell what happened on single examples, so protegi had no gradients: it paraphrased only."
)


class ProTeGi(TriesSearch):
    """Edits prompts by what an LLM says of their mistakes, and keeps a beam of those that do best on few examples.

    Every rating asks what happened (``Rate.cases``). What is shown of it to the LLM is bounded and marked as data.

    Args:
        model: says what is wrong, edits and paraphrases; billed to the run as ``proposer``.
        examples: the training examples; a run fills them in.
        task: what the prompts are for, in the user's words; told to the model.
        rounds: how often the beam is expanded.
        beam: how many prompts it holds.
        minibatch: training examples, drawn anew each round, whose wrong cases make the gradients.
        gradients: groups of wrong cases that are shown, for each prompt of the beam.
        errors: cases in a group.
        reasons: asked for of each group.
        edits: prompts asked for, for each reason.
        paraphrases: of the prompt and of each edit; 0 for none.
        successors: how many of these, for each prompt of the beam, are tried.
        selection: how the beam is found: ``ucb`` rates most where the upper confidence bound is highest,
            ``successive-rejects`` drops the worst one after the other, ``racing`` drops those that are clearly worse
            than the beam, and ``all`` rates every prompt on all training examples.
        evaluations: of prompts on examples that ``ucb`` and ``successive-rejects`` make in a round, about.
        sample: examples at a time, for ``ucb`` and ``racing``.
        arms: prompts at a time, for ``ucb``.
        exploration: weight of what is not known yet, for ``ucb``.
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
        rounds: int = 6,
        beam: int = 4,
        minibatch: int = 64,
        gradients: int = 4,
        errors: int = 4,
        reasons: int = 1,
        edits: int = 1,
        paraphrases: int = 2,
        successors: int = 8,
        selection: Literal["ucb", "successive-rejects", "racing", "all"] = "ucb",
        evaluations: int = 640,
        sample: int = 8,
        arms: int = 8,
        exploration: float = 1.0,
        perfect: float = 1.0,
        temperature: float = 0.7,
    ) -> None:
        at_least(1, rounds=rounds, beam=beam, minibatch=minibatch, gradients=gradients, errors=errors, reasons=reasons)
        at_least(1, edits=edits, successors=successors, evaluations=evaluations, sample=sample, arms=arms)
        at_least(0, paraphrases=paraphrases, exploration=exploration)
        check_argument("perfect", perfect, allowed="a finite number", holds=math.isfinite(perfect))
        selects = {
            "ucb": self._ucb,
            "successive-rejects": self._successive_rejects,
            "racing": self._racing,
            "all": self._all,
        }
        if selection not in selects:
            raise UnknownName("selection", selection, selects)
        self._select = selects[selection]
        super().__init__(examples)
        self._asker = Asker(model, temperature=temperature)
        self._task = task.strip()
        self.rounds = rounds
        self.beam = beam
        self.minibatch = min(minibatch, len(self._ids))
        self.gradients = gradients
        self.errors = errors
        self.reasons = reasons
        self.edits = edits
        self.paraphrases = paraphrases
        self.successors = successors
        self.evaluations = evaluations
        self.sample = sample
        self.arms = arms
        self.exploration = exploration
        self.perfect = perfect

    def begin(self, setup: Setup, /) -> None:
        """Start afresh.

        Raises:
            UserError: there is no starting prompt.
        """
        super().begin(setup)
        self._rng = setup.rng()
        self._kind = "template" if is_template(setup) else "instruction"
        self._asker.begin(setup)
        self._search = self._descend()

    # ── The search ────────────────────────────────────────────────────────────────────────────────────────────────

    def _descend(self) -> Search:
        """The beam search of the paper."""
        yield from self._rate_on(self._setup.start, self._everything)
        beam = self._ranked(self._setup.start, self._everything)[: self.beam]
        for turn in range(self.rounds):
            minibatch = self._rng.permutation(len(self._ids))[: self.minibatch]
            yield from self._rate_on(beam, minibatch)
            successors = [child for parent in beam for child in self._expanded(parent, minibatch, turn=turn)]
            order = self._rng.permutation(len(self._ids))
            beam = yield from self._select(list(dict.fromkeys([*beam, *successors])), order)
            yield from self._rate_on(beam[:1], self._everything)

    def _expanded(self, parent: Prompt, minibatch: Indices, *, turn: int) -> list[Prompt]:
        """Successors of one prompt: edits along its gradients, and paraphrases."""
        made: dict[Prompt, None] = {}
        for shown in self._groups(parent, minibatch):
            for reason in self._reasons_for(parent, shown):
                origin = {"step": f"{turn} edit", "parents": [parent.text], "reason": reason[:LONGEST]}
                made |= dict.fromkeys(Prompt(text, origin) for text in self._edited(parent, shown, reason))
        for prompt in [parent, *made] if self.paraphrases else []:
            origin = {"step": f"{turn} paraphrase", "parents": [prompt.text]}
            made |= dict.fromkeys(Prompt(text, origin) for text in self._paraphrased(prompt))
        fresh = [prompt for prompt in made if prompt not in self._tries]
        return [fresh[i] for i in sorted(self._rng.permutation(len(fresh))[: self.successors])]

    def _groups(self, parent: Prompt, minibatch: Indices) -> Iterator[list[Case]]:
        """Random groups of what a prompt gets wrong; none where it gets all right."""
        cases = self._tried(parent).cases_on(minibatch)
        if not cases:
            self._setup.note(NO_CASES)
        mistakes = wrong(cases, perfect=self.perfect)
        for _ in range(self.gradients if mistakes else 0):
            yield [mistakes[i] for i in self._rng.permutation(len(mistakes))[: self.errors]]

    # ── What the LLM is asked ─────────────────────────────────────────────────────────────────────────────────────

    def _reasons_for(self, parent: Prompt, shown: Sequence[Case]) -> list[str]:
        """The gradient: what is wrong with a prompt, in words."""
        many = f"{self.reasons} different reasons" if self.reasons > 1 else "one reason"
        wish = f"Give {many} why the {self._kind} could have led to these outputs: what in it is wrong or missing."
        message = self._message(self._material(parent, shown), wish, form="reason")
        return self._asker.texts([message], self._rng, problem_with=lambda text: None)[1][: self.reasons]

    def _edited(self, parent: Prompt, shown: Sequence[Case], reason: str) -> list[str]:
        """The step against the gradient: prompts without that flaw."""
        material = [*self._material(parent, shown), (f"What is wrong with the {self._kind}", reason)]
        many = (
            f"{self.edits} improved {self._kind}s, each worded differently,"
            if self.edits > 1
            else f"an improved {self._kind}"
        )
        wish = (
            f"Write {many} for which that does not hold any more. It must work for inputs that were not seen, so quote "
            "none of these."
        )
        message = self._message(material, wish, form=self._kind)
        return self._asker.prompts([message], self._rng)[1][: self.edits]

    def _paraphrased(self, prompt: Prompt) -> list[str]:
        message = paraphrasing(prompt.text, n=self.paraphrases, task=self._task)
        return self._asker.prompts([Message("user", message)], self._rng)[1][: self.paraphrases]

    def _material(self, parent: Prompt, shown: Sequence[Case]) -> list[tuple[str, str]]:
        return [(self._kind.capitalize(), parent.text), *told(shown, self._examples)]

    def _message(self, material: Sequence[tuple[str, str]], wish: str, *, form: str) -> Message:
        parts = [
            f"A model follows the {self._kind} below. For the inputs below it gave these outputs, which are "
            "wrong or not as good as they could be.",
            f"What the {self._kind} is for: {self._task}" if self._task else "",
            RULE,
            quoted(material),
            wish,
            PLACEHOLDER_RULE if form == "template" else "",
            list_format(form),
        ]
        return Message("user", "\n\n".join(filter(None, parts)))

    # ── Which prompts stay ────────────────────────────────────────────────────────────────────────────────────────

    def _ucb(self, prompts: list[Prompt], order: Indices) -> Selected:
        """Every prompt on a few examples, then those with the highest upper confidence bounds on a few more."""
        spent, tried = 0, prompts
        while spent < self.evaluations:
            questions = [q for prompt in tried for q in self._questions(prompt, self._next(prompt, order))]
            if not questions:
                break
            yield questions
            spent += sum(len(question.on) or len(order) for question in questions)
            bounds = {prompt: self._bound(prompt, spent) for prompt in prompts if not self._tried(prompt).seen.all()}
            tried = sorted(bounds, key=lambda prompt: -bounds[prompt])[: self.arms]
        return self._ranked(prompts, order)[: self.beam]

    def _next(self, prompt: Prompt, order: Indices) -> Indices:
        """The first few examples of an order that a prompt was not tried on."""
        return order[~self._tried(prompt).seen[order]][: self.sample]

    def _bound(self, prompt: Prompt, spent: int) -> float:
        values = self._tried(prompt).values
        n = int((~np.isnan(values)).sum())
        return mean(values) + self.exploration * math.sqrt(math.log(spent) / n) if n else math.inf

    def _successive_rejects(self, prompts: list[Prompt], order: Indices) -> Selected:
        """All prompts on ever more examples, without the worst each time [Audibert2010]."""
        spared = (self.evaluations - len(prompts)) / (0.5 + sum(1 / i for i in range(2, len(prompts) + 1)))
        while len(prompts) > self.beam:
            on = order[: max(1, math.ceil(spared / len(prompts)))]
            yield from self._rate_on(prompts, on)
            prompts = self._ranked(prompts, on)[:-1]
        return self._ranked(prompts, order)

    def _racing(self, prompts: list[Prompt], order: Indices) -> Selected:
        """All prompts on ever more examples, without those that are clearly worse than the last of the beam."""
        ends = looks(len(order), least=self.sample)
        level = ERROR / len(ends) / len(prompts)
        for end in ends:
            if len(prompts) > self.beam:
                on = order[:end]
                yield from self._rate_on(prompts, on)
                prompts = self._ranked(prompts, on)
                last = self._tried(prompts[self.beam - 1]).values[on]
                prompts = [p for p in prompts if not clearly_worse(self._tried(p).values[on] - last, level=level)]
        return self._ranked(prompts, order)[: self.beam]

    def _all(self, prompts: list[Prompt], order: Indices) -> Selected:
        """Every prompt on all examples."""
        yield from self._rate_on(prompts, order)
        return self._ranked(prompts, order)[: self.beam]

    def _ranked(self, prompts: Iterable[Prompt], places: Indices) -> list[Prompt]:
        """Best first, by the mean on some examples; those without a value last, equals in their order."""
        means = {prompt: mean(self._tried(prompt).values[places]) for prompt in prompts}
        return sorted(means, key=lambda prompt: -means[prompt] if means[prompt] == means[prompt] else math.inf)
