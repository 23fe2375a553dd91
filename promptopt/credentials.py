"""Keys and passwords: where one stands in what will be recorded, and texts without those in use.

Recipes are recorded, so a key belongs into an environment variable. One is known by its place (a header
``authorization``, a field ``api_key``, ``?key=`` in an address) or by its shape (``sk-...``). What is refused is never
repeated.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from .errors import UserError

PLACE = re.compile(
    r"(^|_)(api|app|access|account|admin|auth|client|functions?|license|master|private|secret|shared|signing|subscription)"
    r"_?key(_id)?$"
    r"|(^|_)(pass|passphrase|pwd|secret|credentials?|authorization|cookie)$|(password|passwd)$|^x_auth"
    r"|^(auth|bearer|jwt|sig|signature|token)$"
    r"|(^|_)(access|ad|api|auth|bearer|csrf|hf|id|refresh|secret|security|session|user)_?token$"
)
"""Names of fields that hold a key, in small letters, words set apart by an underscore."""

SHAPE = re.compile(
    r"\b(sk|pk|rk)[-_][A-Za-z0-9_-]{12,}|\bgh[pousr]_\w{16,}|\bgithub_pat_\w{16,}|\bglpat-[\w-]{16,}|\bxox[abeprs]-[\w-]{10,}"
    r"|\bAKIA[0-9A-Z]{12,}|\bAIza[\w-]{20,}|\bhf_[A-Za-z0-9]{16,}|\bgsk_\w{16,}|\bpplx-\w{16,}|\br8_\w{16,}"
    r"|\beyJ[\w-]{8,}\.eyJ[\w-]{8,}|-----BEGIN [A-Z ]*PRIVATE KEY|\b(Bearer|Basic) +[\w+/=.~-]{16,}"
)
"""What keys look like."""

RANDOM = re.compile(r"(?=\S*[0-9])(?=\S*[A-Za-z])[\w+/=.~-]{20,}")  # what may be a key where the name leaves it open
OPEN = ("key", "code")
FILLED = re.compile(r"\$?\{\w*\}|^(bearer|basic|token|apikey|api-key|key)\b", re.IGNORECASE)
SHORTEST = 8  # characters of a key that is looked for in texts: a shorter one stands in them by chance


def check_no_key(name: str, value: Any, *, remedy: str) -> None:
    """See that a value that will be recorded holds no key, in it or in what it holds.

    Args:
        name: of the argument.
        value: a text, or tables and lists of texts; texts that are an address are looked into.
        remedy: what to do instead.

    Raises:
        UserError: it holds one. The message says where, and not what.
    """
    for place in _places(name, value):
        raise UserError(f"{place} holds a key or a password itself, and recipes are recorded. {remedy}")


def scrubbed(text: str, keys: Iterable[str], *, by: str = "[key]") -> str:
    """A text without these keys, whoever repeated them in it; keys too short to be any are left in."""
    for key in keys:
        if len(key) >= SHORTEST:
            text = text.replace(key, by)
    return text


def _places(where: str, value: Any) -> Iterator[str]:
    """Where keys stand."""
    if isinstance(value, Mapping):
        for name, inside in value.items():
            place = f"{where}.{name}"
            if isinstance(inside, str) and _is_key(str(name), inside):
                yield place
            else:
                yield from _places(place, inside)
    elif isinstance(value, list | tuple):
        for i, inside in enumerate(value):
            yield from _places(f"{where}.{i}", inside)
    elif isinstance(value, str):
        yield from _places_in_text(where, value)


def _places_in_text(where: str, text: str) -> Iterator[str]:
    if SHAPE.search(text) or re.fullmatch(r"[^/\s:@]+:[^/\s@]+@\S+", text):
        yield where
    elif re.match(r"[a-z][a-z0-9+.-]*://", text, re.IGNORECASE):
        if "@" in re.split(r"[/?#]", text.partition("://")[2], maxsplit=1)[0]:
            yield where
        try:
            parts = urlsplit(text)
        except ValueError:
            return
        for name, value in parse_qsl(parts.query, keep_blank_values=True):
            if _is_key(name, value, query=True):
                yield f"{where}, at ?{name}=,"


def _is_key(name: str, value: str, *, query: bool = False) -> bool:
    """Whether a value is a key, by the name that it has or by its own shape."""
    if not FILLED.sub("", value).strip(" {}"):  # a placeholder, or nothing
        return False
    words = re.sub(r"(?<=[a-z])(?=[A-Z])|[^A-Za-z0-9]+", "_", name).lower()
    if PLACE.search(words) or SHAPE.search(value):
        return True
    return words in OPEN and (query or bool(RANDOM.fullmatch(value)))
