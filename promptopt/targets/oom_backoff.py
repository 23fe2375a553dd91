"""Batches that halve when memory runs out."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

__all__ = ["even", "in_batches"]

T = TypeVar("T")
R = TypeVar("R")


def even(n: int, batch_size: int) -> int:
    """The size at which ``n`` items go in equal batches: 130 at 128 a batch go as 65 and 65, not as 128 and 2."""
    return math.ceil(n / math.ceil(n / batch_size)) if n else 1


def in_batches(items: Sequence[T], encode: Callable[[Sequence[T]], R], *, batch_size: int) -> Iterator[tuple[R, int]]:
    """Encode items batch by batch; on out-of-memory halve the batch and try again.

    Yields:
        The result of a batch and the batch size in force.

    Raises:
        RuntimeError: any other error, or no memory for a single item.
    """
    done = 0
    while done < len(items):
        batch = items[done : done + batch_size]
        try:
            result = encode(batch)
        except RuntimeError as error:  # torch.cuda.OutOfMemoryError is one
            if "out of memory" not in str(error).lower() or len(batch) == 1:
                raise
            batch_size = len(batch) // 2
            continue  # outside of the handler, so that the failed batch is free again
        done += len(batch)
        yield result, batch_size
