"""The contract suite of chat models holds for ours; a part that breaks it fails in the test meant for it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import promptopt
from promptopt.core import ChatModel, Completion, Reply, Request, Usage
from promptopt.testing import ScriptedModel
from promptopt.testing.contracts import ModelContract

from ...models.openai_server import completion, serving

EMBEDDED = Path(promptopt.__file__).parent / "embedded" / "lm"

# ── Our models ────────────────────────────────────────────────────────────────────────────────────────────────────


class TestScripted(ModelContract):
    def make(self) -> ChatModel:
        return ScriptedModel(lambda messages: messages[-1].text)


class TestLocal(ModelContract):
    def make(self) -> ChatModel:
        pytest.importorskip("transformers")
        from promptopt.models.local import Local

        return Local(model=EMBEDDED, max_tokens=4, device="cpu")


class TestOpenAI(ModelContract):
    @pytest.fixture(autouse=True)
    def server(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        pytest.importorskip("openai")
        monkeypatch.setenv("OPENAI_API_KEY", "sk-planted-0123456789abcdef")
        with serving(script=lambda request: completion(*["yes"] * request.body.get("n", 1))) as self.running:
            yield

    def make(self) -> ChatModel:
        from promptopt.models.openai import OpenAI

        return OpenAI(model="m", base_url=self.running.url, prices={"input": 1.0, "output": 2.0})


# ── Broken models ─────────────────────────────────────────────────────────────────────────────────────────────────


class Sound:
    """Says yes. Words are its tokens."""

    most = 3

    def __init__(self) -> None:
        self.identity: Any = {"most": self.most}

    @property
    def name(self) -> str:
        return "sound"

    def complete(self, request: Request, /) -> Completion:
        replies = tuple(self.reply() for _ in range(request.n))
        return Completion(replies, self.usage(self._read(request), request.n))

    def reply(self) -> Any:
        return Reply("yes")

    def usage(self, read: int, n: int) -> Usage:
        return Usage(1, read, n, 0.001 * n)

    def at_most(self, request: Request, /) -> Usage:
        written = request.n * self.most
        return Usage(1, self._read(request), written, 0.001 * written)

    def _read(self, request: Request) -> int:
        return sum(len(message.text.split()) for message in request.messages) + len(str(request.schema or ""))


class SoundContract(ModelContract):
    part: Any = Sound

    def make(self) -> Any:
        return self.part()


class Numbered(Sound):
    """Has another name each time it is built."""

    numbers = itertools.count()

    def __init__(self) -> None:
        super().__init__()
        self._name = f"sound {next(self.numbers)}"

    @property
    def name(self) -> str:
        return self._name


class NamedByItsServer(Sound):
    """Is called otherwise once it has answered."""

    _name = "alias"

    @property
    def name(self) -> str:
        return self._name

    def reply(self) -> Any:
        self._name = "alias-2025"
        return super().reply()


class Nameless(Sound):
    name = " "


class OneReply(Sound):
    def complete(self, request: Request, /) -> Completion:
        return super().complete(replace(request, n=1))


class Bare(Sound):
    def reply(self) -> Any:
        return "yes"


class EndsItsOwnWay(Sound):
    def reply(self) -> Any:
        return Reply("yes", "end_turn")  # type: ignore[arg-type]


class OneMessage(Sound):
    def complete(self, request: Request, /) -> Completion:
        (message,) = request.messages
        return super().complete(replace(request, messages=[message]))


class KnowsNoSchema(Sound):
    def complete(self, request: Request, /) -> Any:
        assert request.schema is None
        return super().complete(request)


class Free(Sound):
    def usage(self, read: int, n: int) -> Usage:
        return Usage(0, 0, 0)


class Fractions(Sound):
    def usage(self, read: int, n: int) -> Usage:
        return Usage(1, read * 1.3, n)  # type: ignore[arg-type]


class NoPrice(Sound):
    def usage(self, read: int, n: int) -> Usage:
        return Usage(1, read, n, float("nan"))


class BoundsOneReply(Sound):
    most = 1

    def at_most(self, request: Request, /) -> Usage:
        return super().at_most(replace(request, n=1))


class ForgetsTheSchema(Sound):
    def at_most(self, request: Request, /) -> Usage:
        return super().at_most(replace(request, schema=None))


class CallsMoreOften(Sound):
    def usage(self, read: int, n: int) -> Usage:
        return Usage(n, read, n)


class IdentityIsNoJson(Sound):
    def __init__(self) -> None:
        self.identity = {"client": object()}


class IdentityChanges(Sound):
    def __init__(self) -> None:
        super().__init__()
        self.identity = {"calls": 0}

    def reply(self) -> Any:
        self.identity["calls"] += 1
        return super().reply()


BROKEN = [
    ("test_its_name_stays", Numbered),
    ("test_its_name_stays", NamedByItsServer),
    ("test_its_name_stays", Nameless),
    ("test_as_many_replies_as_asked_for", OneReply),
    ("test_as_many_replies_as_asked_for", Bare),
    ("test_as_many_replies_as_asked_for", EndsItsOwnWay),
    ("test_as_many_replies_as_asked_for", OneMessage),
    ("test_takes_a_schema", KnowsNoSchema),
    ("test_says_what_a_call_costs", Free),
    ("test_says_what_a_call_costs", Fractions),
    ("test_says_what_a_call_costs", NoPrice),
    ("test_no_call_costs_more_than_at_most", BoundsOneReply),
    ("test_no_call_costs_more_than_at_most", ForgetsTheSchema),
    ("test_no_call_costs_more_than_at_most", CallsMoreOften),
    ("test_its_identity_stays_and_is_json", IdentityIsNoJson),
    ("test_its_identity_stays_and_is_json", IdentityChanges),
]


@pytest.mark.parametrize(("test", "part"), BROKEN)
def test_a_broken_model_fails_the_test_meant_for_it(test: str, part: Any) -> None:
    suite = SoundContract()
    getattr(suite, test)()
    suite.part = part
    with pytest.raises((AssertionError, AttributeError, TypeError, ValueError)):
        getattr(suite, test)()


def test_every_model_test_has_a_part_that_fails_it() -> None:
    assert {name for name in dir(ModelContract) if name.startswith("test_")} == {test for test, _ in BROKEN}
