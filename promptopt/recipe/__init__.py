"""From a recipe to a plan: reading, building parts, and what recipes can say."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..exports import lazily

if TYPE_CHECKING:
    from .plan import planned
    from .read import override, read_recipe

__all__ = [
    "override",
    "planned",
    "read_recipe",
]

__getattr__, __dir__ = lazily(
    __name__,
    {
        "override": "read",
        "planned": "plan",
        "read_recipe": "read",
    },
)
