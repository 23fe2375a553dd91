"""Keys and passwords are known by place and by shape, refused unseen, and taken out of texts."""

from __future__ import annotations

from typing import Any

import pytest

from promptopt.credentials import check_no_key, scrubbed
from promptopt.errors import UserError
from promptopt.models.anthropic import Anthropic
from promptopt.models.dspy import DSPy
from promptopt.models.openai import OpenAI
from promptopt.sweep.study import hidden
from promptopt.targets.http import Http

KEY = "planted0123456789abcdef"
SHAPED = "sk-planted-0123456789abcdef"
URL = "http://127.0.0.1:9/{prompt}"

LITERAL: list[tuple[Any, dict[str, Any]]] = [
    (Http, {"url": URL, "headers": {"Authorization": f"Bearer {KEY}"}}),
    (Http, {"url": URL, "headers": {"X-Auth-Token": KEY}}),
    (Http, {"url": URL, "headers": {"Ocp-Apim-Subscription-Key": KEY}}),
    (Http, {"url": URL, "headers": {"X-Custom": SHAPED}}),
    (Http, {"url": f"{URL}?key={KEY}"}),
    (Http, {"url": f"{URL}?apiKey={KEY}"}),
    (Http, {"url": f"http://me:{KEY}@127.0.0.1/{{prompt}}"}),
    (Http, {"url": URL, "body": {"api_key": KEY}}),
    (Http, {"url": URL, "body": {"auth": [{"password": KEY}]}}),
    (Http, {"url": URL, "body": {"key": KEY}}),
    (Http, {"url": URL, "body": [SHAPED]}),
    (OpenAI, {"base_url": f"http://127.0.0.1:9/v1?api-key={KEY}"}),
    (OpenAI, {"base_url": f"http://me:{KEY}@127.0.0.1:9/v1"}),
    (OpenAI, {"extra": {"extra_headers": {"Authorization": f"Bearer {KEY}"}}}),
    (OpenAI, {"extra": {"extra_query": {"api-key": KEY}}}),
    (OpenAI, {"extra": {"user": SHAPED}}),
    (OpenAI, {"extra": {"api_key": KEY}}),
    (Anthropic, {"extra": {"extra_headers": {"x-api-key": KEY}}}),
    (DSPy, {"options": {"api_key": KEY}}),
    (DSPy, {"options": {"aws_secret_access_key": KEY}}),
    (DSPy, {"options": {"extra_headers": {"Authorization": f"Bearer {KEY}"}}}),
    (DSPy, {"options": {"api_base": f"https://x.example/v1?api-key={KEY}"}}),
]


@pytest.mark.parametrize(("part", "options"), LITERAL)
def test_a_literal_key_is_refused_and_not_repeated(part: Any, options: dict[str, Any]) -> None:
    given = options if part is Http else {"model": "openai/m", **options}
    with pytest.raises(UserError) as caught:
        part(**given)
    assert KEY not in str(caught.value)
    assert SHAPED not in str(caught.value)
    assert "environment" in str(caught.value)


@pytest.mark.parametrize(
    "options",
    [
        {"headers": {"Authorization": "Bearer ${NAME}", "X-Api-Key": "${NAME}", "X-Request": "of tests"}},
        {"body": {"token": "{input}", "password": "", "max_tokens": 5, "key": "answer", "eos_token": "</s>"}},
        {"body": {"stop": ["sk-"], "model": "gpt-x-2026-01-01-preview-long", "prompt_cache_key": "of-tests"}},
        {"url": f"{URL}?q=1&version=2024-02-01&key={{prompt}}"},
    ],
)
def test_what_is_no_key_is_taken(options: dict[str, Any]) -> None:
    assert Http(**{"url": URL, **options})


def test_a_broken_address_is_looked_at_too() -> None:
    with pytest.raises(UserError, match=r"^url is 'http://\["):
        Http(url="http://[x{prompt}")
    with pytest.raises(UserError, match=r"^url holds a key or a password"):
        Http(url=f"me:{KEY}@[x/{{prompt}}")
    check_no_key("x", None, remedy="")


def test_addresses_are_shown_without_passwords() -> None:
    assert hidden(f"postgresql://me@host/name?sslpassword={KEY}") == "postgresql://me@host/name?..."
    assert hidden(f"postgresql://me:{KEY}@host/name") == "postgresql://me@host/name"


def test_texts_are_scrubbed_of_keys_but_not_of_what_is_too_short_for_one() -> None:
    assert scrubbed(f"you sent {KEY}, no key", [KEY, "no", ""]) == "you sent [key], no key"
