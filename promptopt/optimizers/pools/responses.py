"""Replies to queries as the things that are searched: *response optimization* [Lin2024].

Lin et al., *Prompt Optimization with Human Feedback*, arXiv 2405.17346. With one query a prompt of the search *is* a
reply. With several, it is a query and a reply to it, one below the other: so they are embedded, one utility is fitted
to the duels of all queries, and only replies to the same query meet (:class:`promptopt.core.HasQueries`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from ...checks import at_least
from ...core import ChatModel, Setup
from ...errors import UserError
from ..proposers.asking import Asker
from .fresh import new_texts

if TYPE_CHECKING:
    import numpy as np

__all__ = ["Replies", "Responses"]

BETWEEN = "\n\n"  # a query and its reply


class _Exchanges:
    """What pools of replies to several queries share."""

    queries: Sequence[str] = ()

    def query_of(self, text: str, /) -> str | None:
        """The query that a text answers; None where there are not several."""
        return next((query for query in self.queries if text.startswith(query + BETWEEN)), None)


class Responses(_Exchanges):
    """Replies that an LLM gives to one query or to several.

    Replies are sampled as they are drawn; several queries take turns, and the starting prompts, which are replies that
    the user has, stand for each of them. A refused or truncated reply is counted and left out. When five calls in a
    row bring no new reply, a query's replies are used up.

    Args:
        model: replies; billed to the run as ``proposer``.
        query: what it is asked, as a user's turn.
        queries: several of them, in its place.
        temperature: of the model; at 0 there is hardly more than one reply.
        per_call: replies sampled in a call.
        per_query: most replies to each of several queries; the paper has 50 to each of 10.

    Raises:
        UserError: a query is empty or given twice, there is none, or a number is out of range.
    """

    def __init__(
        self,
        *,
        model: ChatModel,
        query: str = "",
        queries: Sequence[str] = (),
        temperature: float = 1.0,
        per_call: int = 8,
        per_query: int = 50,
    ) -> None:
        at_least(1, per_call=per_call, per_query=per_query)
        if bool(query) == bool(queries):
            raise UserError("give query, the text that the responses are to answer, or queries, a list of several.")
        self.queries = _checked(queries)
        _checked([query] if query else [])
        self._asker = Asker(model, temperature=temperature)
        self._query = query
        self._per_call = per_call
        self._per_query = per_query
        self._start: list[str] = []

    def begin(self, setup: Setup, /) -> None:
        """Bill the model to this run, and take the replies that the user has."""
        self._asker.begin(setup)
        self._start = [prompt.text for prompt in setup.start]

    def draw(self, rng: np.random.Generator, /) -> Iterator[str]:
        """Distinct replies as they are sampled; ends when the LLM repeats itself.

        Raises:
            ModelError: the provider refused for good.
            BudgetExhausted: the next call would exceed the budget.
        """
        if not self.queries:
            return self._sampled(self._query, rng, seen=set())
        return _in_turns([self._to(query, rng) for query in self.queries])

    def _to(self, query: str, rng: np.random.Generator) -> Iterator[str]:
        """A query with each of its replies, those of the user first."""
        sampled = self._sampled(query, rng, seen=set(self._start))
        replies = (reply for source in (self._start, sampled) for reply in source)
        return (query + BETWEEN + reply for reply in islice(replies, self._per_query))

    def _sampled(self, query: str, rng: np.random.Generator, *, seen: set[str]) -> Iterator[str]:
        return new_texts(iter(lambda: self._asker.replies(query, rng, n=self._per_call), None), seen=seen)


class Replies(_Exchanges):
    """Replies to several queries that exist already, from a file.

    They are drawn in turns, query by query, each in random order. The starting prompts take no part.

    Args:
        path: a JSON-lines file; each line is an object with ``query`` and ``reply``.

    Raises:
        UserError: the file cannot be read, or a line lacks one of the two texts.
    """

    def __init__(self, *, path: str | Path) -> None:
        self._replies: dict[str, dict[str, None]] = {}
        try:
            lines = Path(path).expanduser().read_text(encoding="utf-8").split("\n")
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"cannot read replies from {str(path)!r}: {error}. Give a UTF-8 file.") from None
        for number, line in enumerate(lines, 1):
            if line.strip():
                query, reply = _pair(line, where=f"{str(path)!r}, line {number}")
                self._replies.setdefault(query, {})[reply] = None
        if not self._replies:
            raise UserError(f'{str(path)!r} holds no replies. Write lines like {{"query": "...", "reply": "..."}}.')
        self.queries = _checked(list(self._replies))

    def draw(self, rng: np.random.Generator, /) -> Iterator[str]:
        """A query with one of its replies at a time."""
        return _in_turns([self._to(query, rng) for query in self.queries])

    def _to(self, query: str, rng: np.random.Generator) -> Iterator[str]:
        replies = list(self._replies[query])
        return iter([query + BETWEEN + replies[i] for i in rng.permutation(len(replies))])


def _checked(queries: Sequence[str]) -> tuple[str, ...]:
    if any(not query.strip() for query in queries):
        raise UserError("a query is empty; give the text that the responses are to answer.")
    if len(set(queries)) < len(queries):
        raise UserError("a query is given twice; list each once.")
    for query in queries:
        if any(query.startswith(other + BETWEEN) for other in queries):
            raise UserError(f"the query {query[:80]!r} begins with another query; reword one of them.")
    return tuple(queries)


def _pair(line: str, *, where: str) -> tuple[str, str]:
    """The query and the reply of a line."""
    try:
        found = json.loads(line)
        query, reply = found["query"].strip(), found["reply"].strip()
        if query and reply:
            return query, reply
    except (ValueError, TypeError, KeyError, AttributeError):
        pass
    raise UserError(f'{where} holds no query and reply; write lines like {{"query": "...", "reply": "..."}}.')


def _in_turns(sources: Sequence[Iterator[str]]) -> Iterator[str]:
    """One of each in turn, until all are used up."""
    left = list(sources)
    while left:
        still = []
        for source in left:
            if (text := next(source, None)) is not None:
                still.append(source)
                yield text
        left = still
