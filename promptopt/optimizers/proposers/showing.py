"""What an LLM is shown of what happened on examples: which of it, and how much. It is marked as data by ``quoting``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from ...core import Case, Example
from ...errors import UserError
from ...text import as_text, shortened

__all__ = ["LONGEST", "MOST", "by_id", "fields", "fitting", "told", "wrong"]

LONGEST = 1_000
"""Characters of an input, an output, an answer or a reason; of a longer one the beginning and the end are shown."""

MOST = 12_000
"""Characters of all cases in a message together; about 3,000 tokens, which small local models can still hold."""


def by_id(examples: Sequence[Example]) -> dict[str, Example]:
    """The training examples of a search that is told what happened on them.

    Raises:
        UserError: there are none, or two share an id.
    """
    if not examples:
        raise UserError(
            "there are no training examples, and this search learns from what happened on each. Give target, data and "
            'metric, or an optimizer that needs none, such as "hill-climb".'
        )
    found = {example.id: example for example in examples}
    if len(found) < len(examples):
        raise UserError("two training examples have the same id; ids must be unique within a data set.")
    return found


def wrong(cases: Iterable[Case], *, perfect: float) -> list[Case]:
    """The cases that there is something to learn from: those with a value below ``perfect``.

    Failed outputs have the metric's worst value and are among them; what has no value for outside reasons is not.
    """
    return [case for case in cases if case.value < perfect]


def fields(case: Case, example: Example, *, longest: int = LONGEST) -> dict[str, str]:
    """What happened on one example, by title: input, output, the right answer and the reason, as far as there are any.

    Args:
        longest: characters of each.
    """
    given = {
        "Input": as_text(example.input),
        "Output": "(none)" if case.output is None else case.output,
        "Right answer": "" if example.label is None else as_text(example.label),
        "Reason": case.reason,
    }
    return {title: shortened(text, most=longest) for title, text in given.items() if text}


def fitting(cases: Sequence[Case], examples: Mapping[str, Example], *, most: int = MOST) -> list[dict[str, str]]:
    """The :func:`fields` of the first cases, of as many as fit, the first one always.

    Args:
        examples: by id.
        most: characters of all together.
    """
    shown: list[dict[str, str]] = []
    for case in cases:
        one = fields(case, examples[case.example])
        most -= sum(map(len, one.values()))
        if most < 0 and shown:
            break
        shown.append(one)
    return shown


def told(cases: Sequence[Case], examples: Mapping[str, Example], *, most: int = MOST) -> list[tuple[str, str]]:
    """The same as titled texts for :func:`.quoting.quoted`, with numbers."""
    shown = enumerate(fitting(cases, examples, most=most), 1)
    return [(f"{title} {number}", text) for number, one in shown for title, text in one.items()]
