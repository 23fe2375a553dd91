"""Prices: given with the model, or once for all in the user's file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from promptopt.errors import UnknownName, UserError
from promptopt.models.anthropic import Anthropic
from promptopt.models.hosted.prices import Price, price_file, price_for, price_from
from promptopt.models.openai import OpenAI

TABLE = '["openai:gpt-x"]\ninput = 0.25\noutput = 2\n\n["anthropic:c"]\ninput = 3.0\noutput = 15.0\n'


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def test_prices_are_dollars_per_million_tokens() -> None:
    price = price_from({"input": 0.25, "output": 2.0})
    assert price == Price(0.25, 2.0)
    assert price.dollars(1_000_000, 500_000) == pytest.approx(1.25)


def test_the_file_that_the_environment_names(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PROMPTOPT_PRICES", str(write(tmp_path / "p.toml", TABLE)))
    assert price_for("openai:gpt-x") == Price(0.25, 2.0)
    assert price_for("openai:gpt-y") is None
    assert OpenAI(model="gpt-x").notes == ()
    assert "no price known" in OpenAI(model="gpt-y").notes[0]
    assert "no price known" not in " ".join(Anthropic(model="c").notes)


def test_the_file_in_the_configuration_folder() -> None:
    assert price_for("openai:gpt-x") is None
    assert str(price_file()).startswith(os.environ["XDG_CONFIG_HOME"])
    write(price_file(), TABLE)
    assert price_for("openai:gpt-x") == Price(0.25, 2.0)


def test_prices_given_with_the_model_go_before_the_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PROMPTOPT_PRICES", str(write(tmp_path / "p.toml", TABLE)))
    assert price_for("openai:gpt-x", {"input": 1, "output": 1}) == Price(1.0, 1.0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('["openai:gpt-x"]\ninput = 1.0\n', r"p\.toml, \[openai:gpt-x\]: both input and output"),
        ('["openai:gpt-x"]\ninput = "1"\noutput = 2\n', "input is '1'"),
        ('"openai:gpt-x" = 3\n', "as a table"),
        ("[openai:gpt-x]\n", "cannot be read"),
        (None, "PROMPTOPT_PRICES names .* which is not there"),
    ],
)
def test_a_wrong_file_is_the_users_mistake(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str | None, message: str
) -> None:
    path = tmp_path / "p.toml"
    if text:
        write(path, text)
    monkeypatch.setenv("PROMPTOPT_PRICES", str(path))
    with pytest.raises(UserError, match=message):
        OpenAI(model="gpt-x")


@pytest.mark.parametrize(
    "prices", [{"input": -1.0, "output": 1.0}, {"input": float("nan"), "output": 1.0}, {"input": True, "output": 1.0}]
)
def test_a_wrong_price_is_the_users_mistake(prices: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="allowed is 0 or more"):
        price_from(prices)


def test_a_misspelt_price_is_the_users_mistake() -> None:
    with pytest.raises(UnknownName, match="Did you mean 'input'"):
        price_from({"inptu": 1.0, "output": 1.0})
