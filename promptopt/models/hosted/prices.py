"""What tokens cost.

No table of prices is shipped: providers change them several times a year, and a stale price would make a budget in
dollars wrong without anybody noticing. The user states them, with the model or once for all in a file; where they are
not stated, dollars are not counted and the run says so.

The file is TOML, one table a model, in US dollars per million tokens::

    ["openai:gpt-x"]
    input = 0.25
    output = 2.0

It lies where the environment variable ``PROMPTOPT_PRICES`` says, or else at ``prices.toml`` in the user's configuration
folder (:func:`price_file`).
"""

from __future__ import annotations

import math
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...checks import check_argument
from ...errors import UnknownName, UserError

__all__ = ["Price", "price_file", "price_for", "price_from"]

VARIABLE = "PROMPTOPT_PRICES"


@dataclass(frozen=True)
class Price:
    """US dollars per million tokens, in and out."""

    input: float
    output: float

    def dollars(self, input_tokens: int, output_tokens: int) -> float:
        """What so many tokens cost. Discounts, for example for cached input, are left out: never too low a figure."""
        return (input_tokens * self.input + output_tokens * self.output) / 1_000_000


def price_for(model: str, prices: Mapping[str, float] | None = None) -> Price | None:
    """The price of a model: the one given, or else the one in the user's file, or else None.

    Args:
        model: its name as the record has it, for example ``openai:gpt-x``.
        prices: ``input`` and ``output``, which go before the file.

    Raises:
        UserError: a price is wrong, or the file is missing where ``PROMPTOPT_PRICES`` says, or cannot be read.
    """
    if prices is not None:
        return price_from(prices)
    path = price_file()
    table = _read(path).get(model)
    if table is not None and not isinstance(table, Mapping):
        raise UserError(f'{path}: write ["{model}"] as a table with input and output.')
    return price_from(table, where=f"{path}, [{model}]")


def price_file() -> Path:
    """Where the user's prices lie; there need not be a file."""
    if named := os.environ.get(VARIABLE):
        return Path(named)
    import platformdirs

    return platformdirs.user_config_path("promptopt", appauthor=False) / "prices.toml"


def price_from(prices: Mapping[str, Any] | None, *, where: str = "prices") -> Price | None:
    """Read ``{"input": 0.25, "output": 2.0}``; None stays None.

    Raises:
        UserError: a price is missing, negative or not a number, or the mapping holds something else.
    """
    if prices is None:
        return None
    for key, value in prices.items():
        if key not in ("input", "output"):
            raise UnknownName("price", key, ["input", "output"], where=where)
        holds = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < math.inf
        check_argument(key, value, allowed="0 or more, in US dollars per million tokens", holds=holds, where=where)
    if len(prices) != 2:
        raise UserError(
            f"{where}: both input and output are needed, in US dollars per million tokens; given: {dict(prices)}."
        )
    return Price(float(prices["input"]), float(prices["output"]))


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if os.environ.get(VARIABLE):
            raise UserError(f"{VARIABLE} names {str(path)!r}, which is not there.") from None
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise UserError(f"{path} cannot be read as a table of prices: {error}") from None
