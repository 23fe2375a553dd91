"""Reasoning, answers and losses of many documents at once.

Three things save work, none of which changes a token:

* documents that begin alike, as those of the candidates for one example do, share the reading of their beginning;
* reasoning written earlier is a draft: it is put behind the new prompt and read in one pass, and stands up to the first
  token that the model would have chosen otherwise (as in speculative decoding, with an old text as the draft model);
* the true answer, which has to be read for the loss anyway, is the draft of the answer.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .backbone import Backbone
from .documents import Head, Ids, Pages, Tail
from .kv_cache import common
from .loss import Read, agreeing, means
from .rows import Rows, empty
from .speedups import Speedups
from .stop import GeneratedText, Stop

__all__ = ["CompletedDocument", "DocumentWriter", "Job", "Settings", "prompt_losses"]

CROWDED = 0.7
"""A batch is thinned out when the share of its rows that are still being written falls below this."""


@dataclass(frozen=True)
class Job:
    """One document to be completed.

    Attributes:
        head: question and prompt.
        tail: extractor and true answer.
        group: documents with the same group are likely to begin alike: those for the same example.
        draft: a guess at the tokens of the reasoning, which the model checks; empty for none.
        seed: of the document's own random stream; None takes the likeliest token each time.
    """

    head: Head
    tail: Tail
    group: Hashable = None
    draft: Ids = ()
    seed: int | None = None


@dataclass(frozen=True)
class CompletedDocument:
    """A completed document.

    Attributes:
        written: the reasoning.
        answer: tokens of the model's own answer.
        loss: cross-entropy of the true answer, mean nats a token.
        mistaken: whether the model, reading the true answer token by token, finds another token likelier anywhere.
        nll: of the prompt's tokens, mean nats a token; 0 if none of them has a token before it.
    """

    written: GeneratedText
    answer: Ids
    loss: float
    mistaken: bool
    nll: float


@dataclass(frozen=True)
class Settings:
    """How documents are completed: the limits in tokens, the temperature of the reasoning, and what saves work."""

    max_tokens: int
    answer_tokens: int
    speedups: Speedups
    temperature: float = 0.0


class DocumentWriter:
    """Completes documents. For one thread at a time.

    Args:
        backbone: the model.
        pages: its tokenizer's side.
        ends: tokens with which the model ends a text.
    """

    def __init__(self, backbone: Backbone, pages: Pages, *, ends: Iterable[int], settings: Settings) -> None:
        self._backbone, self._pages, self._settings = backbone, pages, settings
        self._reasoning = Stop(pages, ends, limit=settings.max_tokens, own="extractor")
        self._answers = Stop(pages, ends, limit=settings.answer_tokens, own="line")

    @torch.no_grad()
    def complete(self, jobs: Sequence[Job]) -> list[CompletedDocument]:
        """One outcome per job, in order. Does not depend on what else is in the batch."""
        rows, nll, written = self._reason(jobs)
        heads = [(*job.head.ids, *one.tokens) for job, one in zip(jobs, written, strict=True)]
        losses, right, answers = self._answer(rows, heads, [job.tail for job in jobs])
        mistaken = [not one for one in right]
        return [CompletedDocument(*fields) for fields in zip(written, answers, losses, mistaken, nll, strict=True)]

    # ── Reasoning ─────────────────────────────────────────────────────────────────────────────────────────────────

    def _reason(self, jobs: Sequence[Job]) -> tuple[Rows, list[float], list[GeneratedText]]:
        """The rows with heads and reasoning, each prompt's NLL, and what was written."""
        greedy = not self._settings.temperature
        usable = self._settings.speedups.use_drafts and greedy
        drafts = [job.draft[: self._settings.max_tokens] if usable else () for job in jobs]
        rows, read = self._read(jobs, drafts)
        nll = _prompt_losses(self._backbone, read, [job.head for job in jobs])
        starts = [len(job.head.ids) for job in jobs]
        accepted = agreeing(self._backbone, read, starts, drafts)
        hidden = read.at([(i, start + n - 1) for i, (start, n) in enumerate(zip(starts, accepted, strict=True))])
        texts = [list(draft[:n]) for draft, n in zip(drafts, accepted, strict=True)]
        seeds = None if greedy else [job.seed or 0 for job in jobs]
        del read  # as large as the keys of a layer or two
        rows, written = self._write(rows, hidden, starts, texts, self._reasoning, seeds=seeds)
        return rows, nll, written

    def _read(self, jobs: Sequence[Job], drafts: Sequence[Ids]) -> tuple[Rows, Read]:
        """Read heads and drafts, and the tokens that the heads of a group begin with alike only once.

        A group whose heads are ``a|b|c`` and ``a|b|d`` has ``a|b`` read in one row, which is then copied for ``c`` and
        ``d``. At least one token of each head is left to be read in the head's own row.
        """
        groups: dict[Hashable, list[int]] = {}
        for i, job in enumerate(jobs):
            groups.setdefault(job.group, []).append(i)
        if not self._settings.speedups.reuse_prefix or len(groups) == len(jobs):
            rows = empty(self._backbone, len(jobs))
            states = rows.feed([job.head.ids + draft for job, draft in zip(jobs, drafts, strict=True)])
            return rows, Read(states, [0] * len(jobs))
        heads = [[jobs[i].head.ids for i in members] for members in groups.values()]
        shared = [min(common(ids), min(map(len, ids)) - 1) for ids in heads]
        group = [0] * len(jobs)
        for g, members in enumerate(groups.values()):
            for i in members:
                group[i] = g
        beginnings = empty(self._backbone, len(groups))
        before = None
        if max(shared):
            before = beginnings.feed([ids[0][:n] for ids, n in zip(heads, shared, strict=True)])
        rows = beginnings.select(group)
        read = [shared[g] for g in group]
        states = rows.feed([job.head.ids[n:] + draft for job, n, draft in zip(jobs, read, drafts, strict=True)])
        return rows, Read(states, read, before, group)

    # ── Answers ───────────────────────────────────────────────────────────────────────────────────────────────────

    def _answer(
        self, rows: Rows, heads: Sequence[Ids], tails: Sequence[Tail]
    ) -> tuple[list[float], list[bool], list[Ids]]:
        """The losses of the true answers, whether all their tokens are the likeliest, and the model's own answers.

        Args:
            rows: what the model has read of the documents.
            heads: the documents up to and with the reasoning.
            tails: extractor and true answer.
        """
        firsts = [len(head) + tail.first for head, tail in zip(heads, tails, strict=True)]
        full = [(*head, *tail.ids) for head, tail in zip(heads, tails, strict=True)]
        read = _catch_up(rows, full, [min(len(head), first - 1) for head, first in zip(heads, firsts, strict=True)])
        places = [(i, t - 1) for i, first in enumerate(firsts) for t in range(first, len(full[i]))]
        sizes = [len(ids) - first for ids, first in zip(full, firsts, strict=True)]
        losses, right = means(self._backbone, read, places, [full[i][t + 1] for i, t in places], sizes)

        checked = [i for i, tail in enumerate(tails) if self._settings.speedups.use_drafts and tail.clean]
        asked = sorted({*range(len(heads))} - {*checked})
        answers: dict[int, Ids] = {}
        if checked:
            answers |= zip(checked, self._checked(rows, read, checked, firsts, tails), strict=True)
        if asked:
            answers |= zip(asked, self._asked(rows.select(asked), [(heads[i], tails[i]) for i in asked]), strict=True)
        return losses, right, [answers[i] for i in range(len(heads))]

    def _checked(
        self, rows: Rows, read: Read, checked: Sequence[int], firsts: Sequence[int], tails: Sequence[Tail]
    ) -> list[Ids]:
        """The model's answers in the rows ``checked``, with the true answers, which are read already, as drafts.

        Args:
            firsts: where the true answer begins in each document.
        """
        starts = [firsts[i] for i in checked]
        drafts = [tails[i].ids[tails[i].first :][: self._settings.answer_tokens] for i in checked]
        accepted = agreeing(self._backbone, read, starts, drafts, rows=checked)
        hidden = read.at([(i, start + n - 1) for i, start, n in zip(checked, starts, accepted, strict=True)])
        texts = [list(draft[:n]) for draft, n in zip(drafts, accepted, strict=True)]
        _, written = self._write(rows.select(checked), hidden, starts, texts, self._answers)
        return [one.tokens for one in written]

    def _asked(self, rows: Rows, asked: Sequence[tuple[Ids, Tail]]) -> list[Ids]:
        """The model's answers behind (head with reasoning, tail), after reading the extractor but no answer.

        This is for all documents where drafts are off, and else for those whose extractor shares a token with the
        answer: there the tail's tokens would give the true answer away.
        """
        full = [(*head, *tail.asks) for head, tail in asked]
        kept = [min(len(head), len(ids) - 1) for (head, _), ids in zip(asked, full, strict=True)]
        read = _catch_up(rows, full, kept)
        hidden = read.at([(i, len(ids) - 1) for i, ids in enumerate(full)])
        _, written = self._write(rows, hidden, [len(ids) for ids in full], [[] for _ in full], self._answers)
        return [one.tokens for one in written]

    # ── Token by token ────────────────────────────────────────────────────────────────────────────────────────────

    def _write(
        self,
        rows: Rows,
        hidden: Tensor,
        starts: Sequence[int],
        texts: list[list[int]],
        stop: Stop,
        *,
        seeds: Sequence[int] | None = None,
    ) -> tuple[Rows, list[GeneratedText]]:
        """Go on writing the text of each document until it ends.

        Row i of the batch is the document's first ``starts[i]`` tokens, then the text. What the model has read behind
        that, such as the rest of a draft that it would not have written, is forgotten::

            What| is| 3|+|4|?| Let| us        3|+| 4      is| 7
            ──── starts[i] tokens ────        text        rest of the draft, forgotten

        Args:
            rows: what the model has read of each document.
            hidden: ``(n_rows, width)``, the hidden state that gives each row's next token.
            starts: how many tokens of each document stand before the text.
            texts: the tokens of each text that are written already; the lists are extended in place.
            seeds: of each row's own random stream; without them the likeliest token is taken.

        Returns:
            The rows, cut behind the tokens that each text keeps; and the texts. A text's last token may be missing from
            its row, since the model need not read a token that nothing is to follow.
        """
        rows.truncate([start + len(text) for start, text in zip(starts, texts, strict=True)])
        written = [stop.within(text) for text in texts]
        draws = None if seeds is None else [torch.Generator().manual_seed(seed) for seed in seeds]
        done: list[tuple[list[int], Rows]] = []
        # Finished rows leave the batch when it is worth copying the rest: ``here[p]`` is the number of the document in
        # row p of what is left, and ``done`` holds the rows that left, with their documents' numbers.
        here = list(range(len(texts)))
        while True:
            alive = [i for i in here if written[i] is None]
            if len(alive) < CROWDED * len(here) or not alive:
                gone, stay = ([p for p, i in enumerate(here) if (written[i] is None) == goes] for goes in (False, True))
                part = rows.select(gone)
                part.truncate([starts[here[place]] + _kept(written[here[place]]) for place in gone])
                done.append(([here[place] for place in gone], part))
                if not alive:
                    break
                rows, hidden, here = rows.select(stay), hidden[torch.tensor(stay, device=hidden.device)], alive
            tokens = self._next(hidden, here, draws)
            for i, token in zip(here, tokens, strict=True):
                if written[i] is None:
                    texts[i].append(token)
                    written[i] = stop.after(texts[i])
            if any(written[i] is None for i in here):
                hidden = rows.feed([[token] for token in tokens])[:, 0]
        order = [i for members, _ in done for i in members]
        whole = rows.together([part for _, part in done]).select(np.argsort(order))
        return whole, [one for one in written if one is not None]

    def _next(self, hidden: Tensor, here: Sequence[int], draws: Sequence[torch.Generator] | None) -> list[int]:
        """The next token of each row: the likeliest, or a draw with the row's own random stream.

        The draw is by the Gumbel trick: with ``E`` from the exponential distribution, ``-log E`` is Gumbel noise, and
        ``argmax(logits - log E)`` is token c with probability ``softmax(logits)[c]``.
        """
        if draws is None:
            return self._backbone.likeliest(hidden)
        logits = self._backbone.logits(hidden).cpu() / self._settings.temperature
        noise = [torch.empty(logits.shape[1]).exponential_(generator=draws[i]).log() for i in here]
        tokens: list[int] = (logits - torch.stack(noise)).argmax(dim=-1).tolist()
        return tokens


def prompt_losses(backbone: Backbone, heads: Sequence[Head]) -> list[float]:
    """Mean NLL of each prompt's tokens in its document."""
    states = empty(backbone, len(heads)).feed([head.ids[: head.stop] for head in heads])
    return _prompt_losses(backbone, Read(states, [0] * len(heads)), heads)


def _prompt_losses(backbone: Backbone, read: Read, heads: Sequence[Head]) -> list[float]:
    """As :func:`prompt_losses`, of documents that are read already.

    The first token of a document is left out, since nothing stands before it to predict it from.
    """
    spans = [range(max(head.first, 1), head.stop) for head in heads]
    places = [(i, t - 1) for i, span in enumerate(spans) for t in span]
    targets = [heads[i].ids[t + 1] for i, t in places]
    losses, _ = means(backbone, read, places, targets, [len(span) for span in spans])
    return losses


def _catch_up(rows: Rows, ids: Sequence[Ids], kept: Sequence[int]) -> Read:
    """Read the rest of each document.

    Args:
        rows: what the model has read of them so far.
        ids: the whole documents.
        kept: how many tokens of the document a row holds rightly, at most; what it has read behind them is forgotten.
    """
    rows.truncate(kept)
    known = rows.lengths.tolist()
    return Read(rows.feed([one[n:] for one, n in zip(ids, known, strict=True)]), known)


def _kept(written: GeneratedText | None) -> int:
    return written.kept if written else 0
