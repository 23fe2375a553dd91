"""Pools of prompts that exist already."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ...checks import not_empty
from ...errors import UserError

if TYPE_CHECKING:
    import numpy as np


class ListPool:
    """The prompts that it is given.

    Args:
        prompts: the prompts; equal ones count once.

    Raises:
        UserError: there are none.
    """

    def __init__(self, *, prompts: Sequence[str]) -> None:
        self.prompts = list(dict.fromkeys(prompts))
        not_empty(prompts=self.prompts)

    def draw(self, rng: np.random.Generator, /) -> Iterator[str]:
        """See :class:`promptopt.optimizers.pools.Pool`."""
        return (self.prompts[i] for i in rng.permutation(len(self.prompts)))


class FilePool(ListPool):
    """The lines of a UTF-8 text file, one prompt per line; blank lines and white space around a prompt are dropped.

    Args:
        path: the file.

    Raises:
        UserError: the file is missing, is not UTF-8 or holds no prompt.
    """

    def __init__(self, *, path: str | Path) -> None:
        try:
            with Path(path).expanduser().open(encoding="utf-8") as file:
                lines = [line.strip() for line in file if line.strip()]
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"cannot read prompts from {str(path)!r}: {error}. Give a UTF-8 text file.") from None
        if not lines:
            raise UserError(f"{str(path)!r} holds no prompts. Write one prompt per line.")
        super().__init__(prompts=lines)
