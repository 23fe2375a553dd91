"""Other people's text made safe to show: on a terminal, on a page, in a message to an LLM."""

from __future__ import annotations

import difflib
import hashlib
import json
import re
import unicodedata
from collections.abc import Iterable
from typing import Any, Literal, TypeAlias

Change: TypeAlias = Literal["same", "new", "lost"]

LONGEST = 950  # characters of a message
ADDRESS = re.compile(r"\bat 0x[0-9a-fA-F]+")  # in memory; another one in each process
WORD = re.compile(r"\s*\S+|\s+$")
BIDI = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\u061c"  # they turn a line's order around
VISIBLE = (  # what a page cannot hold, or would act upon, and what stands for it
    {code: chr(0x2400 + code) for code in range(32) if chr(code) not in "\t\n"}
    | {127: "\u2421"}
    | {ord(c): repr(c)[1:-1] for c in (*map(chr, range(0x80, 0xA0)), *BIDI)}
)


def visible(text: str) -> str:
    """A text for a page: control characters as pictures of them or written out, line feeds and tabs as they are."""
    return text.translate(VISIBLE)


def plain(text: str) -> str:
    """A text, with everything that does not show on a terminal written out, line breaks excepted."""
    return "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in text)


def shortened(text: str, *, most: int = LONGEST) -> str:
    """A text of no more than ``most`` characters; of a longer one its beginning and its end, where remedies stand."""
    if len(text) <= most:
        return text
    left_out = f" [... {len(text) - most:,} characters ...] "
    kept = most - len(left_out)
    return text[: kept - kept // 3] + left_out + text[-(kept // 3) :]


def copyable(text: str) -> str:
    """A prompt, with nothing written out but what a terminal would act upon: a copy of it is the prompt.

    Tabs, spaces of all kinds, joined emoji and marks stay as they are, other than in :func:`plain`.
    """
    return "".join(repr(c)[1:-1] if _acts(c) else c for c in text)


def _acts(c: str) -> bool:
    if c in "\n\t":
        return False
    return c in BIDI or unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp")


def changes(old: str, new: str) -> list[tuple[Change, str]]:
    """A prompt in pieces: words that both have, new ones, and in their place those that were lost; white space kept."""
    a, b = WORD.findall(old), WORD.findall(new)
    matcher = difflib.SequenceMatcher(a=[w.strip() for w in a], b=[w.strip() for w in b], autojunk=False)
    pieces: list[tuple[Change, str]] = []
    for kind, i, j, k, m in matcher.get_opcodes():
        if kind in ("replace", "delete") and (words := "".join(a[i:j]).strip()):
            pieces.append(("lost", f" {words}" if k else f"{words} "))
        if kind in ("replace", "insert"):
            pieces.append(("new", "".join(b[k:m])))
        if kind == "equal":
            pieces.append(("same", "".join(b[k:m])))
    return pieces


def quotation_mark(texts: Iterable[str]) -> str:
    """A mark to quote texts with: a hash of them all, so that none of them can hold it and end its own quotation."""
    joined = "\0".join(texts)
    return hashlib.blake2b(joined.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def quote(title: str, text: str, *, mark: str) -> str:
    """A titled text between marks, for a message to an LLM."""
    return f"{title}:\n{between(text, mark=mark)}"


def between(text: str, *, mark: str) -> str:
    """A text between marks, for a message to an LLM."""
    return f"[begin {mark}]\n{text}\n[end {mark}]"


def as_text(value: Any) -> str:
    """An example's input or label as an LLM is shown it.

    A text is as it is, what JSON can hold is JSON, and anything else in words, such as a path or a date; where it has
    none that are the same in every process, and for arrays, it is told by its type. Replies are looked up by what was
    asked, so the same value has to be the same text.
    """
    known = value is None or isinstance(value, str | int | float | dict | list | tuple)
    said = value if known else _in_words(value)
    return said if isinstance(said, str) else json.dumps(said, ensure_ascii=False, default=_in_words)


def _in_words(value: Any) -> Any:
    shape = getattr(value, "shape", None)
    if shape == () and hasattr(value, "item"):  # a number of NumPy's
        return value.item()
    said = str(value)
    return f"({type(value).__name__})" if shape is not None or ADDRESS.search(said) else said
