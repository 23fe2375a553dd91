"""Batches that halve when memory runs out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

__all__ = ["in_batches"]

T = TypeVar("T")
R = TypeVar("R")


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
