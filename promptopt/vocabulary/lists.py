"""Phrases in lists, of each of which a prompt has one, or of the last any number."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from ..checks import not_empty
from ..errors import UserError

__all__ = ["Lists", "phrase_lists"]

Lists: TypeAlias = str | Path | Sequence[str] | Mapping[str, Sequence[str]]
"""Lists by name, a TOML file of such, or one list."""
EMBEDDED = Path(__file__).parent.parent / "embedded" / "pictures.toml"


def phrase_lists(phrases: Lists | None) -> list[list[str]]:
    """Lists of phrases as a user gives them; None is what comes along with the embedded painter.

    Raises:
        UserError: the file cannot be read, or a list is empty or holds something else than texts.
    """
    if phrases is None or isinstance(phrases, str | Path):
        path = Path(phrases or EMBEDDED)
        try:
            phrases = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, tomllib.TOMLDecodeError) as error:
            raise UserError(f"cannot read phrases from {str(path)!r}: {error}") from None
    lists = [list(dict.fromkeys(one)) for one in (phrases.values() if isinstance(phrases, Mapping) else [phrases])]
    not_empty(phrases=lists)
    for one in lists:
        not_empty(phrases=one)
        if wrong := [phrase for phrase in one if not isinstance(phrase, str) or not phrase.strip()]:
            raise UserError(f"phrases holds {wrong[0]!r}, which is no phrase. Give lists of texts.")
    return lists
