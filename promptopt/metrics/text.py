"""Metrics of text: exact match, normalised match, contains, F1 of words, regular expression.

An output is a text (a number is taken as its text); None is an output that could not be had and is marked None. The
label of an example is a reference answer or a list of acceptable ones, texts or numbers; the best of them counts.

Two ways to reduce a text to its words:

``squad`` ([Rajpurkar2016], the released evaluation script): lower case, ASCII punctuation deleted, the articles a, an
and the deleted, white space collapsed. We differ where nothing would be left: an answer that is only articles or
punctuation, such as the letter "A", keeps them.

``instruction-induction`` ([Honovich2022], the released ``evaluate.py``): " and ", "Sentence 1:" and "Sentence 2:"
deleted, only the first line kept and of it only what stands before the first full stop, lower case, hyphens read as
spaces, other ASCII punctuation deleted. We differ in that white space is collapsed, so that "cat ." equals "cat".
"""

from __future__ import annotations

import re
import string
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Sequence
from numbers import Number
from typing import Any, Literal, TypeAlias

from ..checks import above_zero
from ..core import Example, Mark
from ..errors import UnknownName, UserError, require

Normal: TypeAlias = Literal["squad", "instruction-induction"]
REASON = 200  # characters of feedback at most

_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


# ── What text metrics share ───────────────────────────────────────────────────────────────────────────────────────


class TextMetric(ABC):
    """Marks outputs one by one; a subclass says how in ``mark``."""

    def __call__(self, outputs: Sequence[Any], examples: Sequence[Example], /) -> list[float | Mark | None]:
        """One mark per output; None where the output is None. A list or object has failed.

        Raises:
            UserError: an output is no text or JSON at all, or a label is no reference answer.
        """
        return [
            None if output is None else no_text(output) or self.mark(text_of(output), example)
            for output, example in zip(outputs, examples, strict=True)
        ]

    @abstractmethod
    def mark(self, output: str, example: Example) -> float | Mark | None:
        """The number for one text."""


def no_text(output: Any) -> Mark | None:
    """That an output has failed: a list or an object, where others of an endpoint's answers hold a text there."""
    if isinstance(output, list | dict):
        return Mark(None, f"no text: {'a list' if isinstance(output, list) else 'an object'} in JSON", failed=True)
    return None


def text_of(output: Any) -> str:
    """An output as text.

    Raises:
        UserError: it is neither a text nor a number.
    """
    if isinstance(output, str | Number):
        return str(output)
    raise UserError(f"this metric measures text, but the target gave {type(output).__name__}.")


def references(example: Example) -> tuple[str, ...]:
    """The acceptable answers of an example.

    Raises:
        UserError: the label is neither a text or number nor a list of them, or the list is empty.
    """
    labels = example.label if isinstance(example.label, list | tuple) else [example.label]
    if not labels or not all(isinstance(label, str | Number) for label in labels):
        raise UserError(
            f"example {example.id!r} has the label {example.label!r}; "
            "this metric needs a reference answer or a list of acceptable ones."
        )
    return tuple(str(label) for label in labels)


def missed(value: float, wanted: Sequence[str], got: str) -> float | Mark:
    """The value; below 1 with what was expected and what came instead."""
    if value >= 1:
        return value
    more = len(wanted) - 1
    others = f" (or {more} other{'s' if more > 1 else ''})" if more else ""
    return Mark(value, f"expected {shown(wanted[0])}{others}, got {shown(got)}")


def shown(text: str, *, limit: int = 80) -> str:
    """The text in quotes, on one line, cut to ``limit`` characters as they are written, some as an escape."""
    line = " ".join(text.split())
    quoted = repr(line[: limit + 1])
    if len(quoted) <= limit + 2:
        return quoted
    return f"{quoted[: limit - 2]}...{quoted[-1]}"


# ── Normal forms ──────────────────────────────────────────────────────────────────────────────────────────────────


def squad(text: str) -> str:
    """The normal form of [Rajpurkar2016]."""
    lower = text.lower()
    plain = lower.translate(_NO_PUNCTUATION)
    forms = (re.sub(r"\b(a|an|the)\b", " ", plain), plain, lower)
    return next((words for form in forms if (words := _collapsed(form))), "")


def instruction_induction_form(text: str) -> str:
    """The normal form of [Honovich2022]."""
    for dropped in (" and ", "Sentence 1:", "Sentence 2:"):
        text = text.replace(dropped, " ")
    sentence = text.strip().split("\n")[0].split(".")[0]
    return _collapsed(sentence.lower().replace("-", " ").translate(_NO_PUNCTUATION))


def _collapsed(text: str) -> str:
    return " ".join(text.split())


NORMAL: dict[Normal, Callable[[str], str]] = {"squad": squad, "instruction-induction": instruction_induction_form}


# ── Metrics ───────────────────────────────────────────────────────────────────────────────────────────────────────


class ExactMatch(TextMetric):
    """1 where the output is a reference answer, letter by letter, surrounding white space aside; else 0."""

    def mark(self, output: str, example: Example) -> float | Mark | None:
        wanted = references(example)
        return missed(float(output.strip() in {one.strip() for one in wanted}), wanted, output)


class _Normalised(TextMetric):
    """Compares normal forms; the best reference counts.

    Args:
        normal: how output and reference are reduced to words.
    """

    def __init__(self, *, normal: Normal = "squad") -> None:
        self._normal = NORMAL[normal]

    def mark(self, output: str, example: Example) -> float | Mark | None:
        wanted, got = references(example), self._normal(output)
        return missed(max(self.likeness(got, self._normal(one)) for one in wanted), wanted, output)

    @abstractmethod
    def likeness(self, output: str, reference: str) -> float:
        """From 0 to 1, of two normal forms."""


class Match(_Normalised):
    """1 where the normal form of the output is that of a reference answer, else 0 ([Rajpurkar2016]: exact match)."""

    def likeness(self, output: str, reference: str) -> float:
        return float(output == reference)


class Contains(_Normalised):
    """1 where the normal form of a reference answer stands in that of the output as whole words, else 0."""

    def likeness(self, output: str, reference: str) -> float:
        if not reference:
            return float(not output)
        return float(re.search(rf"(?<!\w){re.escape(reference)}(?!\w)", output) is not None)


class SetMatch(_Normalised):
    """1 where output and reference have the same set of words, in any order and number, else 0 ([Honovich2022])."""

    def likeness(self, output: str, reference: str) -> float:
        return float(set(output.split()) == set(reference.split()))


class SetF1(_Normalised):
    """F1 of the two sets of words: 2 |output ∩ reference| / (|output| + |reference|).

    The graded form of set match. [Honovich2022] has no such metric: its tasks over sets demand the whole set.
    """

    def likeness(self, output: str, reference: str) -> float:
        return _f1(Counter(set(output.split())), Counter(set(reference.split())))


class TokenF1(_Normalised):
    """F1 of the two bags of words ([Rajpurkar2016], [Honovich2022]): a word counts as often as both have it."""

    def likeness(self, output: str, reference: str) -> float:
        return _f1(Counter(output.split()), Counter(reference.split()))


def _f1(output: Counter[str], reference: Counter[str]) -> float:
    """Harmonic mean of precision and recall; two empty bags are equal."""
    total = output.total() + reference.total()
    return 2 * (output & reference).total() / total if total else 1.0


INDUCTION_TASKS: dict[str, type[_Normalised]] = {  # evaluate.py of [Honovich2022]; the last eight of InstructZero
    **dict.fromkeys(
        "active_to_passive antonyms cause_and_effect diff first_word_letter larger_animal letters_list negation "
        "num_to_verbal rhymes second_word_letter sentence_similarity sentiment singular_to_plural sum "
        "translation_en-de translation_en-es translation_en-fr word_in_context".split(),
        Match,
    ),
    "common_concept": TokenF1,
    "informal_to_formal": TokenF1,
    "orthography_starts_with": SetMatch,
    "taxonomy_animal": SetMatch,
    "synonyms": Contains,
    **dict.fromkeys(
        "auto_categorization auto_debugging cs_algorithms object_counting odd_one_out periodic_elements word_sorting "
        "word_unscrambling".split(),
        Match,
    ),
}


def instruction_induction(*, task: str) -> TextMetric:
    """The metric by which [Honovich2022] measures a task, the best reference counting.

    Args:
        task: the task's name, which is that of its file, for example ``taxonomy_animal``.

    Raises:
        UnknownName: there is no such task.
    """
    if task not in INDUCTION_TASKS:
        raise UnknownName("instruction-induction task", task, INDUCTION_TASKS)
    return INDUCTION_TASKS[task](normal="instruction-induction")


class Regex(TextMetric):
    """1 where a regular expression is found in the output, else 0; or where what its group holds is a reference answer.

    Args:
        pattern: in the syntax of the ``regex`` package, a superset of Python's ``re``; ``(?i)`` in front ignores case.
        group: a group's number or name. What it holds is then the answer, surrounding white space aside, and an
            output in which the pattern is not found has no answer and has failed.
        seconds: a search that takes longer, in processor time, is given up, and the output has failed.

    Raises:
        UserError: the pattern is not valid or lacks the group.
        MissingExtra: the ``regex`` package is not installed.
    """

    def __init__(self, *, pattern: str, group: int | str | None = None, seconds: float = 1.0) -> None:
        regex = require("regex", extra="metrics")
        try:
            self._pattern = regex.compile(pattern)
        except regex.error as error:
            raise UserError(f"{pattern!r} is not a regular expression: {error}.") from None
        if group is not None and group not in {*range(self._pattern.groups + 1), *self._pattern.groupindex}:
            raise UserError(
                f"{pattern!r} has no group {group!r}; write ( ) or (?P<name> ) around what is to be compared."
            )
        above_zero(seconds=seconds)
        self.pattern, self.group, self.seconds = pattern, group, seconds

    def mark(self, output: str, example: Example) -> float | Mark | None:
        try:
            found = self._pattern.search(output, timeout=self.seconds)
        except TimeoutError:
            return Mark(None, f"too slow: {shown(self.pattern)} was sought for over {self.seconds:g} s", failed=True)
        if self.group is None:
            return 1.0 if found else Mark(0.0, f"{shown(self.pattern)} is not found in {shown(output)}")
        if not found or (answer := found.group(self.group)) is None:
            return Mark(None, f"no answer: {shown(self.pattern)} is not found in {shown(output)}", failed=True)
        wanted = references(example)
        return missed(float(answer.strip() in {one.strip() for one in wanted}), wanted, answer)
