"""A DSPy program's predictors as parts of a prompt, and back; examples and demonstrations in DSPy's fields."""

from __future__ import annotations

import copy
import inspect
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ...core import Example
from ...demonstrations import PART, Demonstration
from ...errors import UserError, require
from ...parts import NAME

__all__ = ["Fields", "copied", "demos_of", "lms_of", "part_names", "set_demos", "set_lms", "told"]

STEPS = "steps"
"""Under which an output's text holds what each predictor gave, where that is more than the prediction."""


def part_names(program: Any) -> dict[str, str]:
    """The name of each predictor's part, by its name in DSPy, in the program's order.

    ``chain[0].predict`` becomes ``chain-0``, and a program that is one predictor has the part ``instruction``. A
    predictor of a part of the program that was compiled before is frozen, as in DSPy, and has none.

    Raises:
        UserError: the program has no predictors.
    """
    found = [name for name, _ in program.named_predictors()]
    if not found:
        raise UserError(
            "the program has no predictors whose instructions could be searched; its attributes have to hold "
            "dspy.Predict or modules of it that are not compiled yet."
        )
    if len(found) == 1:
        return {found[0]: "instruction"}
    names: dict[str, str] = {}
    for name in found:
        short = re.sub(r"\.predict$", "", name)
        plain = re.sub(r"[^\w-]+", "-", short).strip("-") or "predictor"
        plain = plain if re.fullmatch(NAME, plain) else f"predictor-{plain}"
        taken = {*names.values(), PART}
        names[name] = (
            plain
            if plain not in taken
            else next(one for i in range(2, len(found) + 3) if (one := f"{plain}-{i}") not in taken)
        )
    return names


def lms_of(program: Any) -> list[Any]:
    """The LMs that predictors of the program have for their own, those of compiled parts too, each once."""
    found = [one.lm for one in _predictors(program) if one.lm is not None]
    return list({id(lm): lm for lm in found}.values())


def set_lms(program: Any, lms: Mapping[int, Any]) -> None:
    """Give every predictor another LM in place of its own, by ``id``; those without keep none."""
    for one in _predictors(program):
        if one.lm is not None:
            one.lm = lms[id(one.lm)]


def copied(program: Any) -> Any:
    """A deep copy of a program whose predictors have the same LMs as those of the program, and not copies of them."""
    kept: dict[int, Any] = {id(lm): lm for lm in lms_of(program)}
    try:
        made = copy.deepcopy(program, kept)
    except Exception:  # what cannot be copied is shared, as DSPy does it
        made = program.deepcopy()
    for old, new in zip(_predictors(program), _predictors(made), strict=True):
        new.lm = old.lm
    return made


def _predictors(program: Any) -> Iterator[Any]:
    predict = require("dspy", extra="dspy").Predict
    for _, module in program.named_sub_modules(predict):
        yield module


# ── Examples ──────────────────────────────────────────────────────────────────────────────────────────────────────


class Fields:
    """Examples in the fields of a program.

    Args:
        program: the program.
        input: the field of an input that is no dict; by default the one that the program takes, where it takes one.
        label: the field of a label that is no dict; the last output field of the last predictor by default.
    """

    def __init__(self, program: Any, *, input: str | None, label: str | None) -> None:
        own = _taken(program)
        self._input = input or (own[0] if len(own) == 1 else None)
        self._label = label or [*program.predictors()[-1].signature.output_fields][-1]

    def inputs(self, example: Example) -> dict[str, Any]:
        """What the program is called with.

        Raises:
            UserError: the input is no dict, and there are several fields that it could be.
        """
        if isinstance(example.input, Mapping):
            return dict(example.input)
        if self._input is None:
            raise UserError(
                f"example {example.id!r} has one value as its input, and the program takes several fields; give inputs "
                "as tables of fields, or the target's option input."
            )
        return {self._input: example.input}

    def labels(self, example: Example) -> dict[str, Any]:
        """The other fields of the example."""
        if isinstance(example.label, Mapping):
            return dict(example.label)
        return {} if example.label is None else {self._label: example.label}

    def example(self, example: Example) -> Any:
        """The ``dspy.Example``."""
        inputs = self.inputs(example)
        return require("dspy", extra="dspy").Example(**{**self.labels(example), **inputs}).with_inputs(*inputs)


def _taken(program: Any) -> list[str]:
    """The fields that a program is called with: those that ``forward`` names, or of its own or its first signature."""
    kind = type(program)
    called = getattr(kind, "forward", None) or getattr(kind, "aforward", None)
    parameters = [*inspect.signature(called).parameters.values()][1:] if called else []
    if parameters and all(one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY) for one in parameters):
        return [one.name for one in parameters]
    signature = getattr(program, "signature", None) or program.predictors()[0].signature
    return [*signature.input_fields]


# ── Outputs, and demonstrations made of them ──────────────────────────────────────────────────────────────────────


def told(prediction: Any, steps: Mapping[str, Mapping[str, Any]]) -> str:
    """A prediction as text: JSON, with what each predictor gave where the prediction does not hold it.

    Args:
        steps: the fields that each predictor gave, by the name of its part.
    """
    fields = dict(prediction.items())
    more = {part: step for part, step in steps.items() if any(fields.get(name) != step[name] for name in step)}
    return json.dumps({**fields, STEPS: more} if more else fields, ensure_ascii=False, default=str)


def demos_of(
    shown: Sequence[tuple[Demonstration, Example]], *, part: str, signature: Any, fields: Fields
) -> list[dict[str, Any]]:
    """The demonstrations of one predictor, as DSPy holds them; without those that say nothing of its fields.

    Args:
        shown: what the prompt shows, each with its example. Without an output the example's own fields are shown, and
            with one what this predictor gave there.
        part: the name of the predictor's part.
    """
    demos = []
    for one, example in shown:
        inputs = fields.inputs(example)
        known = {**fields.labels(example), **inputs} if one.output is None else _said(one.output, inputs, part)
        demo = {name: known[name] for name in signature.fields if name in known}
        if demo.keys() & signature.input_fields.keys() and demo.keys() & signature.output_fields.keys():
            demos.append(demo)
    return demos


def _said(output: str, inputs: Mapping[str, Any], part: str) -> dict[str, Any]:
    """All fields that an output tells of, those of one predictor before those of others.

    Raises:
        UserError: it is no JSON object.
    """
    try:
        fields = json.loads(output)
        steps = fields.pop(STEPS, {})
    except (ValueError, AttributeError):
        raise UserError(
            f"demonstrations shows {output[:80]!r} as an output; of a program that is a JSON object of its fields."
        ) from None
    others = {name: value for step in steps.values() for name, value in step.items()}
    return {**others, **fields, **steps.get(part, {}), **inputs}


def set_demos(predictor: Any, demos: Sequence[Mapping[str, Any]]) -> None:
    """Have a predictor show these."""
    example = require("dspy", extra="dspy").Example
    predictor.demos = [example(**demo) for demo in demos]
