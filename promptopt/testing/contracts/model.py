"""What every chat model must hold."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, get_args, get_type_hints

from ...core import ChatModel, HasIdentity, Message, Reply, Request, Usage

__all__ = ["ModelContract"]

FINISHES = get_args(get_type_hints(Reply)["finish"])


class ModelContract:
    """What runs, judges and proposers rely on in a chat model.

    Attributes:
        conversations: what the model is asked.
        schema: a JSON schema that it is asked to follow.
    """

    conversations: Sequence[Sequence[Message]] = (
        (Message("user", "Say yes or no."),),
        (
            Message("system", "Be brief."),
            Message("user", "Say yes or no."),
            Message("assistant", "yes"),
            Message("user", "And in JSON?"),
        ),
    )
    schema: Mapping[str, Any] = {
        "type": "object",
        "properties": {"answer": {"type": "string"}},
        "required": ["answer"],
        "additionalProperties": False,
    }

    def make(self) -> ChatModel:
        """A new model, with its server faked or on this machine, so that calls are free."""
        raise AssertionError("say how to make the model: override make()")

    def test_its_name_stays(self) -> None:
        model = self.make()
        name = model.name
        assert isinstance(name, str)
        assert name.strip()
        model.complete(Request(self.conversations[0]))
        assert model.name == name == self.make().name

    def test_as_many_replies_as_asked_for(self) -> None:
        for messages in self.conversations:
            for n in (1, 3):
                replies = self.make().complete(Request(messages, n=n, temperature=1.0, seed=7)).replies
                assert len(replies) == n
                for reply in replies:
                    assert isinstance(reply.text, str)
                    assert reply.finish in FINISHES

    def test_takes_a_schema(self) -> None:
        assert len(self.make().complete(Request(self.conversations[0], n=2, schema=self.schema)).replies) == 2

    def test_says_what_a_call_costs(self) -> None:
        usage = self.make().complete(Request(self.conversations[0])).usage
        assert usage.calls >= 1
        assert usage.input_tokens >= 1
        assert usage.output_tokens >= 0
        assert usage.dollars >= 0
        assert math.isfinite(usage.dollars)
        assert all(isinstance(amount, int) for amount in (usage.calls, usage.input_tokens, usage.output_tokens))

    def test_no_call_costs_more_than_at_most(self) -> None:
        for messages in self.conversations:
            for n in (1, 3):
                for schema in (None, self.schema):
                    model = self.make()
                    request = Request(messages, n=n, schema=schema)
                    bound = model.at_most(request)
                    _assert_within(model.complete(request).usage, bound)

    def test_its_identity_stays_and_is_json(self) -> None:
        model = self.make()
        if isinstance(model, HasIdentity):
            before = json.dumps(model.identity, sort_keys=True)
            model.complete(Request(self.conversations[0]))
            other = self.make()
            assert isinstance(other, HasIdentity)
            assert json.dumps(model.identity, sort_keys=True) == before == json.dumps(other.identity, sort_keys=True)


def _assert_within(usage: Usage, bound: Usage) -> None:
    for name, amount in asdict(usage).items():
        most = asdict(bound)[name]
        assert amount <= most, f"a call cost {amount} {name}, and at_most said {most}"
