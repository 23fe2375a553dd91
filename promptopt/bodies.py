"""Bodies of HTTP answers, bounded in bytes and in time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

from .retries import attempt_ends

__all__ = ["LARGEST", "PLAIN", "TooLarge", "bounding"]

LARGEST = 32 * 2**20
"""Bytes of one answer. Far above any reply: a picture in base64 is a few million."""

PLAIN = {"accept-encoding": "identity"}
"""Asks for bodies as they are: a compressed one is a thousand times as long as what is counted."""


class TooLarge(Exception):
    """An answer that is longer than :data:`LARGEST`, or compressed, though nobody asked for that."""


def bounding(library: Any, *, largest: int | None = None) -> Callable[[Any], None]:
    """A hook for the responses of a client; what it reads of one is then bounded.

    Reading raises :class:`TooLarge`, or the library's own time-out once the attempt's time is up
    (:func:`promptopt.retries.attempt_ends`).

    Args:
        library: httpx, or its successor.
        largest: bytes of one answer; :data:`LARGEST` by default.
    """

    class Bounded(library.SyncByteStream):  # type: ignore[misc]
        """A stream of bytes that ends."""

        def __init__(self, stream: Any) -> None:
            self._stream = stream
            self._ends = attempt_ends()

        def __iter__(self) -> Iterator[bytes]:
            size = 0
            for chunk in self._stream:
                size += len(chunk)
                if size > (largest or LARGEST):
                    raise TooLarge(f"the answer is longer than {largest or LARGEST:,} bytes")
                if time.monotonic() > self._ends:
                    raise library.ReadTimeout("timed out: the answer was still coming in")
                yield chunk

        def close(self) -> None:
            self._stream.close()

    def hook(response: Any) -> None:
        if response.headers.get("content-encoding", "identity") not in ("", "identity"):
            raise TooLarge("the answer is compressed, though it was asked for as it is (accept-encoding: identity)")
        response.stream = Bounded(response.stream)

    return hook
