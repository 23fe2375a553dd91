"""Labels by likelihood: what a classifier chooses among that compares how likely the model finds each label.

Nothing is written: a label's words are read behind prompt and input, and the likeliest label is the output. So there is
always one, and it can be read.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..core import Chooses, Example, Failed, Message, Missing, Setup
from ..errors import UserError
from ..replies import NoReply, reply_to
from .replies import no_output

__all__ = [
    "CONTENT_FREE",
    "Answers",
    "Calibration",
    "Labels",
    "Likeliest",
    "Row",
    "Words",
    "chosen",
    "content_free",
    "labels_for",
]

Answers: TypeAlias = Literal["written", "likelihood"]
Calibration: TypeAlias = Literal["none", "content-free"]
Words: TypeAlias = Sequence[str] | Mapping[str, str | Sequence[str]]
Row: TypeAlias = NDArray[np.float64]

CONTENT_FREE = ("N/A", "[MASK]", "")
"""The inputs without content of [Zhao2021]."""


class Likeliest(str):
    """The likeliest label, a text for metrics, with how likely each of them is.

    Attributes:
        log_probabilities: by label, in nats; those of all labels together are 1.
    """

    log_probabilities: Mapping[str, float]

    @property
    def text(self) -> str:
        """The label alone."""
        return str(self)


class Labels:
    """Labels, the words that stand for each, and which of them is the likeliest.

    A label's probability is that of its words, all labels' together made 1. Where several words stand for a label,
    their probabilities are added. A word's log-probability is the sum over its tokens, the probability that the model
    would write it; ``length_normalized`` takes the mean instead, under which a label of many tokens is no less likely
    for having many, and one whose later tokens follow from the first (``Los Angeles``) is likelier than it should be.

    Calibrated [Zhao2021], each label's probability is divided by the one that it has where the input has no content,
    the mean over ``N/A``, ``[MASK]`` and an empty one. We differ from [Zhao2021] in what a calibrated probability is:
    the quotients, made to sum to 1, and not a softmax of them. The likeliest label is the same.

    Args:
        labels: the labels, each its own word, or the word or words by label; two labels or more.
        calibration: ``content-free``, or ``none``.
        length_normalized: whether a word's log-probability is divided by the number of its tokens.

    Raises:
        UserError: there are fewer than two labels, a label or word is empty, or one comes twice.
    """

    def __init__(self, labels: Words, *, calibration: Calibration = "none", length_normalized: bool = False) -> None:
        given = labels if isinstance(labels, Mapping) else {one: one for one in labels}
        self.names = tuple(given)
        groups = [(words,) if isinstance(words, str) else tuple(words) for words in given.values()]
        self.words = tuple(word for group in groups for word in group)
        self.of = np.repeat(np.arange(len(groups)), [len(group) for group in groups])
        self.calibrated, self._mean = calibration == "content-free", length_normalized
        _check(labels, self.names, groups)

    def word(self, label: Any) -> str:
        """The first word of a label.

        Raises:
            UserError: it is none of the labels.
        """
        return self.words[int(np.flatnonzero(self.of == self._place(label))[0])]

    def check(self, examples: Sequence[Example]) -> None:
        """Check that examples have these labels.

        Raises:
            UserError: one has not.
        """
        for example in examples:
            try:
                self._place(example.label)
            except UserError as error:
                raise UserError(f"example {example.id!r}: {error}") from None

    def log_probabilities(self, words: Sequence[float], tokens: Sequence[int]) -> Row:
        """``(n_labels,)`` before calibration, from each word's log-probability and its number of tokens."""
        scores = np.asarray(words, dtype=np.float64)
        if self._mean:
            if len(tokens) != len(words):
                raise UserError("length_normalized is true, and the model does not say how many tokens a label has.")
            scores = scores / np.asarray(tokens)
        return _normalized(np.array([np.logaddexp.reduce(scores[self.of == i]) for i in range(len(self.names))]))

    @staticmethod
    def prior(rows: Sequence[Row]) -> Row:
        """``(n_labels,)``: the log of the mean probabilities on inputs without content."""
        mean: Row = np.logaddexp.reduce(np.stack(rows), axis=0) - np.log(len(rows))
        return mean

    def likeliest(self, row: Row, prior: Row | None = None) -> Likeliest:
        """The output; the first of equally likely labels.

        Args:
            row: ``(n_labels,)``, of :meth:`log_probabilities`.
            prior: ``(n_labels,)``, where the output is to be calibrated.
        """
        found = row if prior is None else _normalized(row - prior)
        output = Likeliest(self.names[int(found.argmax())])
        output.log_probabilities = dict(zip(self.names, found.tolist(), strict=True))
        return output

    def outputs(self, rows: Sequence[Row | Failed | Missing], *, empty: int = 0) -> list[Likeliest | Failed | Missing]:
        """What comes of rows where some of them could not be had.

        Args:
            rows: of :meth:`log_probabilities`.
            empty: so many of them, the first, are of inputs without content. Where one of these is missing, all is.
        """
        lost = next((one for one in rows[:empty] if isinstance(one, Failed | Missing)), None)
        priors = [one for one in rows[:empty] if not isinstance(one, Failed | Missing)]
        prior = self.prior(priors) if priors and lost is None else None
        return [
            one if isinstance(one, Failed | Missing) else lost or self.likeliest(one, prior) for one in rows[empty:]
        ]

    def _place(self, label: Any) -> int:
        name = label if isinstance(label, str) else json.dumps(label, default=str)
        if name not in self.names:
            known = ", ".join(self.names[:20]) + (", ..." if len(self.names) > 20 else "")
            raise UserError(f"the label {label!r} is none of those to choose among: {known}. Give labels = [...].")
        return self.names.index(name)


def labels_for(
    answers: Answers,
    labels: Words | None,
    *,
    classes: Sequence[str] = (),
    examples: Sequence[Example] = (),
    calibration: Calibration = "none",
    length_normalized: bool = False,
) -> Labels | None:
    """What a target chooses among by likelihood; None where answers are written.

    By default these are the classes of the data set, and else the labels of the training examples, in sorted order.

    Raises:
        UserError: there are fewer than two labels or they cannot be told apart; an example has another one; or an
            option says how to choose while answers are written.
    """
    if answers == "written":
        given = {"labels": labels is not None, "calibration": calibration != "none"}
        said = [name for name, one in {**given, "length_normalized": length_normalized}.items() if one]
        if said:
            raise UserError(f'{" and ".join(said)}: this is for answers = "likelihood"; here answers are written.')
        return None
    own = classes or sorted({_text(example) for example in examples})
    found = Labels(own if labels is None else labels, calibration=calibration, length_normalized=length_normalized)
    found.check(examples)
    return found


def chosen(model: Chooses, messages: Sequence[Message], labels: Labels, *, setup: Setup) -> Row | Failed | Missing:
    """How likely a chat model finds each label as its reply to a conversation, or why that is not known, counted.

    Raises:
        ModelError: as of :func:`promptopt.targets.replies.asked`.
    """
    said = reply_to(lambda: model.choose(messages, labels.words))
    if isinstance(said, NoReply):
        setup.count(said.counted("requests"))
        return no_output(said)
    return labels.log_probabilities(said.log_probabilities, said.tokens)


def content_free(example: Example) -> list[Example]:
    """Examples like one, with the inputs without content of [Zhao2021] in its place, or in the place of its fields."""

    def filled(text: str) -> Any:
        return dict.fromkeys(example.input, text) if isinstance(example.input, Mapping) else text

    return [Example(f"content-free/{text}", filled(text), example.label) for text in CONTENT_FREE]


def _text(example: Example) -> str:
    if isinstance(example.label, list | tuple | dict):
        raise UserError(
            f"example {example.id!r} has the label {example.label!r}; to choose by likelihood, each has one label."
        )
    return example.label if isinstance(example.label, str) else json.dumps(example.label, default=str)


def _normalized(scores: Row) -> Row:
    """Log-probabilities that sum to 1."""
    row: Row = scores - np.logaddexp.reduce(scores)
    return row


def _check(given: Words, names: Sequence[str], groups: Sequence[Sequence[str]]) -> None:
    words = [word for group in groups for word in group]
    holds = not isinstance(given, str) and all(isinstance(one, str) and one.strip() for one in (*names, *words))
    if not holds or not all(groups) or len(names) < 2:
        raise UserError(
            f"labels is {given!r}; to choose by likelihood, give two or more labels, or a word or words for each of "
            'them: labels = ["yes", "no"], labels = {yes = "Yes", no = ["No", "Never"]}.'
        )
    every = [one.strip() for one in (words if isinstance(given, Mapping) else given)]
    if twice := [one for i, one in enumerate(every) if one in every[:i]]:
        raise UserError(f"labels: {twice[0]!r} stands there twice; give each label words of its own.")
