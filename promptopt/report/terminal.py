"""Prompts on a terminal: as they are, so that what is copied is the prompt, and what changed on a line of its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from rich.console import Console
from rich.segment import Segment, Segments
from rich.text import Text

from ..parts import parts_of
from ..text import changes as word_changes
from ..text import copyable, plain

LINES = 40  # so many lines of a prompt are shown: those for single classes may be hundreds
KEPT = 12  # so many unchanged words in a row are shown; of more, the ends


def print_prompt(console: Console, title: str, prompt: str) -> None:
    """A title, and below it the prompt alone: nothing before it, nothing behind it, no line broken.

    Of a very long prompt it is the first lines, and how many more there are.
    """
    console.print(Text(f"{title}:", "bold"))
    prompt, more = beginning(prompt, LINES)
    text = copyable(prompt)
    raw = Segments([Segment(text, console.get_style("green")), Segment.line()])  # a Text would expand tabs
    console.print(raw, soft_wrap=True)
    if more:
        console.print(Text(f"({more} more lines; best.txt and the ledger have them)", "dim"))
    if text != prompt:
        console.print(Text("(characters that a terminal would act upon are written out; best.txt has them)", "dim"))


def beginning(prompt: str, most: int) -> tuple[str, int]:
    """The first lines of a prompt, as many as ``most`` at the most, and how many are left out."""
    lines = prompt.split("\n")
    return "\n".join(lines[:most]), max(0, len(lines) - most)


def changes(start: str, prompt: str, *, styled: bool) -> Text:
    """What a prompt has lost and won against the starting prompt, word by word.

    Args:
        styled: lost words are struck out and new ones bold; else they stand as ``[-lost-]`` and ``{+new+}``.
    """
    text = Text()
    for kind, piece in word_changes(plain(start), plain(prompt)):
        words = piece.split()
        if kind == "same":
            text.append(_shortened(words)).append(" ")
        elif words:
            said = " ".join(words)
            plainly = f"[-{said}-]" if kind == "lost" else f"{{+{said}+}}"
            style = "strike dim" if kind == "lost" else "bold green"
            text.append(said if styled else plainly, style=style if styled else "").append(" ")
    text.rstrip()
    return text


def print_changes(console: Console, start: str, prompt: str) -> None:
    """A line with what changed, for each part of a prompt; none if nothing did or nothing is left of the start."""
    before, after = parts_of(start), parts_of(prompt)
    if not before or list(before) != list(after):
        _print_changes(console, start, prompt)
        return
    for name, text in before.items():
        _print_changes(console, text, after[name], where=f" in {name}")


def _print_changes(console: Console, start: str, prompt: str, *, where: str = "") -> None:
    styled = console.color_system is not None and not console.no_color
    shared = {*plain(start).split()} & {*plain(prompt).split()}
    if start != prompt and max(start.count("\n"), prompt.count("\n")) >= LINES:
        old, new = Counter(start.split("\n")), Counter(prompt.split("\n"))
        console.print(Text(f"Changed lines{where}: {(old - new).total()} less, {(new - old).total()} more", "dim"))
    elif start != prompt and shared:
        console.print(Text(f"Changed{where}: ", "dim").append_text(changes(start, prompt, styled=styled)))


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
