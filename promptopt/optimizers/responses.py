"""Responses to one query as the things that are searched: *response optimization* [Lin2024]."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ..core import ChatModel, Setup
from ..errors import UserError
from .asking import Asker, check_numbers, new_texts

if TYPE_CHECKING:
    import numpy as np

__all__ = ["Responses"]


class Responses:
    """Replies that an LLM gives to one query; here a prompt *is* a response.

    Replies are sampled as they are drawn. A refused or truncated reply is counted and left out. When five calls in a
    row bring no new reply, the pool is used up.

    Args:
        model: replies; billed to the run as ``proposer``.
        query: what it is asked, as a user's turn.
        temperature: of the model; at 0 there is hardly more than one reply.
        per_call: replies sampled in a call.

    Raises:
        UserError: the query is empty, or a number is out of range.
    """

    def __init__(self, *, model: ChatModel, query: str, temperature: float = 1.0, per_call: int = 8) -> None:
        check_numbers(per_call=per_call)
        if not query.strip():
            raise UserError("query is empty; give the text that the responses are to answer.")
        self._asker = Asker(model, temperature=temperature)
        self._query = query
        self._per_call = per_call

    def begin(self, setup: Setup, /) -> None:
        """Bill the model to this run."""
        self._asker.begin(setup)

    def draw(self, rng: np.random.Generator, /) -> Iterator[str]:
        """Distinct replies as they are sampled; ends when the LLM repeats itself.

        Raises:
            ModelError: the provider refused for good.
            BudgetExhausted: the next call would exceed the budget.
        """
        calls = iter(lambda: self._asker.replies(self._query, rng, n=self._per_call), None)
        return new_texts(calls, seen=set())
