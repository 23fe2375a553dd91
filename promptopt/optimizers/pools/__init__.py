"""Initial pools: where a search draws its first prompts from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol

from ...exports import lazily

if TYPE_CHECKING:
    import numpy as np

    from .captions import Captions
    from .descriptors import Descriptors
    from .distinct import Distinct
    from .listed import FilePool, ListPool
    from .responses import Replies, Responses
    from .templates import Grammar, ImagenetTemplates
    from .waffle import Waffle
    from .written import Paraphrases, Written

__all__ = [
    "Captions",
    "Descriptors",
    "Distinct",
    "FilePool",
    "Grammar",
    "ImagenetTemplates",
    "ListPool",
    "Paraphrases",
    "Pool",
    "Replies",
    "Responses",
    "Waffle",
    "Written",
]

__getattr__, __dir__ = lazily(
    __name__,
    {
        "Captions": "captions",
        "Descriptors": "descriptors",
        "Distinct": "distinct",
        "FilePool": "listed",
        "Grammar": "templates",
        "ImagenetTemplates": "templates",
        "ListPool": "listed",
        "Paraphrases": "written",
        "Replies": "responses",
        "Responses": "responses",
        "Waffle": "waffle",
        "Written": "written",
    },
)


class Pool(Protocol):
    """A source of prompts. Every draw starts afresh."""

    def draw(self, rng: np.random.Generator, /) -> Iterator[str]:
        """Distinct prompts in random order; ends when the pool is used up.

        All randomness comes from ``rng``, which belongs to the iterator as long as that is in use.
        """
