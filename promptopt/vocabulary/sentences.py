"""Where sentences end. Careful rather than clever: where it is not clear, the sentence goes on."""

from __future__ import annotations

import re

__all__ = ["closed", "sentence_ends"]

CLOSING = "\"'”’»)]*_`」』）"
STOP = re.compile(rf"[.!?…]+[{re.escape(CLOSING)}]*(?=\s+\S)|[。！？]+[{re.escape(CLOSING)}]*")
OPENING = re.compile(r"[\s\"'“‘«(\[*_`¿¡]+")
LETTERS = re.compile(r"[^\W\d]\.[^\W\d]")  # as in e.g. and U.S.
ABBREVIATIONS = frozenset(
    "al approx ca cf co dept dr ed eds eg esp est etc fig figs govt hon ie inc jr ltd max min misc mr mrs ms mt prof "
    "pp ref resp rev sec sr st tel usu viz vol vs".split()
)
BEFORE_NUMBERS = frozenset({"no", "nos", "nr", "p", "art", "ex"})
PAIRS = ("()", "[]", "“”", "«»", "「」", "『』", "（）")
EVEN = ('"', "`", "**")


def sentence_ends(text: str) -> list[int]:
    """The places, ascending, behind each sentence of a text without line breaks that matter; the last is its length.

    A full stop ends no sentence after an abbreviation or a single letter, before a small letter, or inside quotation
    marks or brackets that are still open.
    """
    ends: list[int] = []
    for stop in STOP.finditer(text):
        begin = ends[-1] if ends else 0
        if stop.end() < len(text) and _ends(text[begin : stop.end()], stop[0], text[stop.end() :]):
            ends.append(stop.end())
    return [*ends, len(text)]


def closed(sentence: str) -> bool:
    """Whether a text ends as a sentence does."""
    return sentence.rstrip().rstrip(CLOSING)[-1:] in tuple(".!?…。！？")


def _ends(sentence: str, stop: str, rest: str) -> bool:
    follows = OPENING.sub("", rest, count=1) if OPENING.match(rest) else rest
    if not _balanced(sentence) or (follows[:1].islower() and stop[0] not in "。！？"):
        return False
    word = sentence.removesuffix(stop).rpartition(" ")[2].lstrip("\"'“‘«([*_`").lower()
    short = LETTERS.search(word) or word in ABBREVIATIONS or (len(word) == 1 and word.isalpha()) or not word
    return not stop.startswith(".") or not (short or (word in BEFORE_NUMBERS and follows[:1].isdigit()))


def _balanced(text: str) -> bool:
    pairs = all(text.count(pair[0]) == text.count(pair[1]) for pair in PAIRS)
    return pairs and all(text.count(mark) % 2 == 0 for mark in EVEN)
