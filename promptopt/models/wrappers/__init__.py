"""What stands around every chat model of a run: the limit on calls, and the cache of replies around that."""

from __future__ import annotations

from ...core import ChatModel
from .cache import CachedModel
from .limit import LimitedModel

__all__ = ["wrap"]


def wrap(model: ChatModel, *, cache: bool = True, most: int = 64) -> ChatModel:
    """A chat model whose replies are cached and whose calls are limited.

    A model that does not say what its replies depend on (its ``identity``) is not cached. Wrapping a model twice gives
    two caches of the same replies and one limit.

    Args:
        model: the model as it was built.
        cache: look replies up on disk before they are bought.
        most: calls at once.
    """
    limited = LimitedModel(model, most=most)
    return CachedModel(limited) if cache and limited.identity is not None else limited
