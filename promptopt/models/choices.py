"""Which chat models can say how likely replies are."""

from __future__ import annotations

from ..core import ChatModel, Chooses
from ..errors import UserError

__all__ = ["chooser"]


def chooser(model: ChatModel) -> Chooses:
    """The model, if it can say how likely replies are.

    Raises:
        UserError: it cannot.
    """
    if not isinstance(model, Chooses):
        raise UserError(f'{model.name} does not say how likely replies are; take a model of kind "local".')
    return model
