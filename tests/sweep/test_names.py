"""What the package says of its own names."""

from __future__ import annotations

import re
from importlib import import_module

import promptopt.sweep


def test_every_name_in_its_description_is_there() -> None:
    said = promptopt.sweep.__doc__ or ""
    for function in re.findall(r"``(promptopt\.\S+)``", said):
        module, _, name = function.rpartition(".")
        assert callable(getattr(import_module(module), name)), function
    modules = re.findall(r":mod:`(\.\w+)`", said)
    assert modules
    for module in modules:
        import_module(module, "promptopt.sweep")
