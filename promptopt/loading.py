"""What is being loaded, told to whoever shows progress; and whether files may be downloaded for it.

Loading a model takes seconds or, over a network, minutes, and happens before a run begins. Parts say what they are
doing with :func:`say`. ``--check`` builds every part within :func:`without_downloads`: what is not on this machine is
then listed, and the part is left without it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeAlias

Listener: TypeAlias = Callable[[str], None]

_listeners: list[Listener] = []
_missing: list[dict[str, None]] = []  # of every rehearsal under way, the innermost last; a dict keeps the order


def say(what: str) -> None:
    """Tell what is being done, for example ``loading ViT-B-32``. Nobody hears it unless somebody listens."""
    for listener in _listeners:
        listener(what)


@contextmanager
def heard(listener: Listener) -> Iterator[None]:
    """Have ``listener`` called with whatever is said while it lasts."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)


@contextmanager
def without_downloads() -> Iterator[dict[str, None]]:
    """Parts built while it lasts download nothing; what they would have downloaded is the keys of what it gives."""
    _missing.append({})
    try:
        yield _missing[-1]
    finally:
        _missing.pop()


def rehearsed() -> bool:
    """Whether parts are only built to see whether they can be: within :func:`without_downloads`."""
    return bool(_missing)


def postponed(files: Sequence[str]) -> bool:
    """Whether files that have to be downloaded are to be listed and not fetched. Without any it is False."""
    if not (files and _missing):
        return False
    _missing[-1].update(dict.fromkeys(files))
    return True
