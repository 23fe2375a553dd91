"""What DSPy really sends: the messages that its adapter makes of a predictor, for use without DSPy.

An instruction alone is a small part of them. The adapter puts it, indented, at the end of a system message that
describes the fields and how they are marked, and every message to the model ends with a reminder of the markers; the
reply has them, too, and is read by them. An instruction that was found inside works outside only with all of that.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...errors import require
from .predictors import part_names

__all__ = ["PLACE", "sent"]

PLACE = "{%s}"
"""Stands for the value of an input field that was not given."""


def sent(program: Any, inputs: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """The messages that each predictor sends, by the name of its part, as ``role`` and ``content``.

    They are made by the adapter that DSPy is configured with, without asking a model. A reply is read by
    ``adapter.parse``; of the usual one, ``[[ ## field ## ]]`` stands on a line of its own before each field.

    Args:
        program: the program, compiled or not.
        inputs: values of input fields; of a field that is not among them, its name in braces is shown.
    """
    dspy = require("dspy", extra="dspy")
    adapter = dspy.settings.adapter or dspy.ChatAdapter()
    names = part_names(program)
    return {
        names[name]: adapter.format(
            one.signature,
            one.demos,
            {field: inputs.get(field, PLACE % field) for field in one.signature.input_fields},
        )
        for name, one in program.named_predictors()
    }
