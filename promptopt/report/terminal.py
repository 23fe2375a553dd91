"""Prompts on a terminal: as they are, so that what is copied is the prompt, and what changed on a line of its own."""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Sequence

from rich.console import Console
from rich.segment import Segment, Segments
from rich.text import Text

BIDI = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\u061c"  # they turn a line's order around
KEPT = 12  # so many unchanged words in a row are shown; of more, the ends


def plain(text: str) -> str:
    """A text, with everything that does not show on a terminal written out, line breaks excepted."""
    return "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in text)


def copyable(text: str) -> str:
    """A prompt, with nothing written out but what a terminal would act upon: a copy of it is the prompt.

    Tabs, spaces of all kinds, joined emoji and marks stay as they are, other than in :func:`plain`.
    """
    return "".join(repr(c)[1:-1] if _acts(c) else c for c in text)


def _acts(c: str) -> bool:
    if c in "\n\t":
        return False
    return c in BIDI or unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp")


def print_prompt(console: Console, title: str, prompt: str) -> None:
    """A title, and below it the prompt alone: nothing before it, nothing behind it, no line broken."""
    console.print(Text(f"{title}:", "bold"))
    text = copyable(prompt)
    raw = Segments([Segment(text, console.get_style("green")), Segment.line()])  # a Text would expand tabs
    console.print(raw, soft_wrap=True)
    if text != prompt:
        console.print(Text("(characters that a terminal would act upon are written out; best.txt has them)", "dim"))


def changes(start: str, prompt: str, *, styled: bool) -> Text:
    """What a prompt has lost and won against the starting prompt, word by word.

    Args:
        styled: lost words are struck out and new ones bold; else they stand as ``[-lost-]`` and ``{+new+}``.
    """
    old, new, text = plain(start).split(), plain(prompt).split(), Text()
    for kind, a, b, c, d in difflib.SequenceMatcher(a=old, b=new, autojunk=False).get_opcodes():
        if kind == "equal":
            text.append(_shortened(new[c:d])).append(" ")
            continue
        if b > a:
            lost = " ".join(old[a:b])
            text.append(lost if styled else f"[-{lost}-]", style="strike dim" if styled else "").append(" ")
        if d > c:
            won = " ".join(new[c:d])
            text.append(won if styled else f"{{+{won}+}}", style="bold green" if styled else "").append(" ")
    text.rstrip()
    return text


def print_changes(console: Console, start: str, prompt: str) -> None:
    """A line with what changed, unless nothing did or nothing is left of the start."""
    styled = console.color_system is not None and not console.no_color
    shared = {*plain(start).split()} & {*plain(prompt).split()}
    if start != prompt and shared:
        console.print(Text("Changed: ", "dim").append_text(changes(start, prompt, styled=styled)))


def _shortened(words: Sequence[str]) -> str:
    if len(words) <= KEPT:
        return " ".join(words)
    return " ".join([*words[: KEPT // 2], "…", *words[-KEPT // 2 :]])


def blocks(console: Console) -> str:
    """Eight marks of growing height, which the console's encoding has."""
    return _encodable("▁▂▃▄▅▆▇█", console, otherwise="_.-:=+*#")


def arrow(console: Console) -> str:
    """An arrow that the console's encoding has."""
    return _encodable("→", console, otherwise="->")


def _encodable(text: str, console: Console, *, otherwise: str) -> str:
    try:
        text.encode(console.encoding)
    except (UnicodeEncodeError, LookupError):
        return otherwise
    return text
