"""What the models behind an HTTP API share: arguments, bounds, one client, retries, refused fields, errors."""

from __future__ import annotations

import json
import os
import threading
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, ClassVar
from urllib.parse import urlsplit

from ...bodies import PLAIN, TooLarge, bounding
from ...checks import above_zero, at_least, check_argument
from ...core import Completion, Reply, Request, Usage
from ...credentials import check_no_key, scrubbed
from ...errors import ModelError, Unanswered, UserError, need, require
from ...retries import Late, Retries, Transient, retry_after
from ...text import plain
from ..wrappers.limit import throttled
from .prices import price_for
from .sdk_errors import THROTTLED, http_library, is_final, is_throttling, kind_of, message_of, transport_error
from .wire import Answer, Api, Ask, BrokenStream, NoAnswer, again, cut, most_read

__all__ = ["HostedModel"]

STREAMED = 10  # times as long as a reply in one piece may take


class HostedModel:
    """A chat model behind an HTTP API, reached through its provider's own SDK.

    Nothing is imported or sent before the first request. One object may be used from many threads.
    """

    provider: ClassVar[str]
    """The SDK's module, the extra that installs it and the first part of the model's name."""
    client: ClassVar[str]
    """The SDK's client class."""
    key_variable: ClassVar[str]
    base_url_variable: ClassVar[str]
    home: ClassVar[str]
    """The provider's own host, which wants a key."""
    hints: ClassVar[Mapping[int, str]]
    """What to check, by HTTP status."""
    largest: ClassVar[int | None] = None
    """Bytes of one answer; None is what all have."""

    def __init__(
        self,
        *,
        api: Api,
        model: str,
        base_url: str | None,
        max_tokens: int,
        stream: bool,
        timeout: float,
        retries: int,
        prices: Mapping[str, float] | None,
        extra: Mapping[str, Any] | None,
        picture_tokens: int,
    ) -> None:
        remedy = f"A key is read from the environment variable {self.key_variable} only."
        check_argument("model", model, allowed="a name", holds=bool(model.strip()))
        check_no_key("base_url", base_url, remedy=remedy)
        check_argument("base_url", base_url, allowed="an http:// or https:// address", holds=_is_address(base_url))
        check_no_key("extra", extra, remedy=remedy)
        above_zero(timeout=timeout)
        at_least(0, retries=retries)
        at_least(1, max_tokens=max_tokens, picture_tokens=picture_tokens)
        self._api, self._model, self._base_url = api, model, base_url
        self._max_tokens, self._stream, self._timeout, self._retries = max_tokens, stream, timeout, retries
        self._extra, self._picture_tokens = dict(extra or {}), picture_tokens
        if taken := [field for field in self._extra if field in api.own]:
            raise UserError(f"extra: {', '.join(taken)} is set by the request itself and may not stand there.")
        if "api_key" in self._extra:
            raise UserError(f"extra: {remedy[:1].lower()}{remedy[1:]}")
        self._price = price_for(self.name, prices)
        self._lock = threading.Lock()
        self._connection: Any = None
        self._key = ""
        self._without: set[str] = set()

    @property
    def name(self) -> str:
        """The provider and its name for the model, for example ``openai:gpt-x``."""
        return f"{self.provider}:{self._model}"

    @property
    def identity(self) -> dict[str, Any]:
        """What besides the name makes the replies differ, as JSON values; caches need it."""
        return {
            "api": type(self._api).__name__,
            "base_url": self._address,
            "max_tokens": self._max_tokens,
            "extra": self._extra,
        }

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should hear before the first call."""
        price = () if self._price else (f"no price known for {self.name}: dollars are not counted",)
        seed = () if "seed" in self._api.own else (f"{self.name} takes no seed: its replies cannot be reproduced",)
        return price + seed

    def complete(self, request: Request, /) -> Completion:
        """Sample replies. A server that sends fewer than ``n`` is asked again, with the next seed, at most ``n`` times.

        What is still missing then is an empty reply. Calls are the requests that were answered; failed attempts before
        a retry are not counted. A server that reports no usage is counted with 0 tokens, with a warning.

        Raises:
            Unanswered: a transient error outlasted the retries.
            Rejected: the provider refused this request for what stands in it.
            ModelError: it refuses whatever it is asked.
            UserError: there is no key for the provider.
            MissingExtra: the SDK is not installed.
        """
        replies: list[Reply] = []
        usage = Usage()
        for number in range(request.n):
            missing = request.n - len(replies)
            answer = self._answer(Ask(self._model, again(request, number, n=missing), request.limit(self._max_tokens)))
            replies += [cut(self._scrubbed(reply), request.stop) for reply in answer.replies[:missing]]
            usage += self._cost(answer)
            if len(replies) == request.n:
                break
        return Completion((*replies, *[Reply("")] * (request.n - len(replies))), usage)

    def at_most(self, request: Request, /) -> Usage:
        """An upper bound for :meth:`complete`: every token is at least a byte, and a server may ignore ``n``."""
        read = request.n * most_read(request, self._extra, picture_tokens=self._picture_tokens)
        cached = read if "cache_control" in json.dumps(self._extra, default=str) else 0
        written = request.n * request.limit(self._max_tokens)
        return Usage(request.n, read, written, self._dollars(read + cached, written))

    def check_key(self) -> str:
        """The key for the provider; empty for a server of one's own that may want none. Sends nothing.

        Raises:
            MissingExtra: the provider's SDK is not installed.
            UserError: there is no key, or it cannot be one.
        """
        need(self.provider, extra=self.provider)
        key = os.environ.get(self.key_variable, "").strip()
        if not key.isascii():
            raise UserError(f"the key in {self.key_variable} holds characters that a key cannot have.")
        if not key and (self._address is None or self.home in self._address):
            raise UserError(
                f"{self.name} needs a key: set the environment variable {self.key_variable}, "
                "or give base_url for a server of your own."
            )
        return key

    def _cost(self, answer: Answer) -> Usage:
        if answer.input_tokens is None or answer.output_tokens is None:
            warnings.warn(f"{self.name} reports no token usage: only its calls are counted", stacklevel=3)
        read, wrote = answer.input_tokens or 0, answer.output_tokens or 0
        return Usage(1, read, wrote, self._dollars(read + answer.written, wrote))

    def _dollars(self, input_tokens: int, output_tokens: int) -> float:
        return self._price.dollars(input_tokens, output_tokens) if self._price else 0.0

    # ── One request ───────────────────────────────────────────────────────────────────────────────────────────────

    def _answer(self, ask: Ask) -> Answer:
        """One answered request, tried again after transient errors and where a stream broke off."""
        self._connect()  # what is imported for it does not count as waiting
        timeout = self._timeout * (STREAMED if self._stream else 1)
        on = (_Passing, BrokenStream)
        retries = Retries(self._retries, on=on, name=self.name, timeout=timeout, refused=_hear)
        try:
            return retries(lambda: self._attempt(ask))
        except _Passing as passing:
            raise self._failed(passing.error, retries) from None
        except (BrokenStream, Late) as error:
            raise self._error(f"{error} ({retries})", kind=Unanswered) from None

    def _attempt(self, ask: Ask) -> Answer:
        """One answered request, without the fields that the server refuses."""
        client, sdk = self._connect(), require(self.provider, extra=self.provider)
        while True:
            body = self._body(ask)
            try:
                return self._exchange(client, body)
            except (sdk.BadRequestError, sdk.UnprocessableEntityError) as error:
                if not self._does_without(error, body):
                    raise self._failed(error) from None
            except sdk.APIError as error:
                if isinstance(error.__cause__, TooLarge):
                    raise self._error(str(error.__cause__), kind=Unanswered) from None
                raise (_Passing(error) if _may_pass(error) else self._failed(error)) from None
            except TooLarge as error:
                raise self._error(str(error), kind=Unanswered) from None
            except (NoAnswer, ValueError) as error:
                raise self._error(f"the server's answer cannot be read: {error}. {self.hints[404]}") from None

    def _body(self, ask: Ask) -> dict[str, Any]:
        ask = replace(ask, stream=self._stream, without=frozenset(self._without))
        return {field: value for field, value in self._api.body(ask).items() if field not in ask.without} | self._extra

    def _exchange(self, client: Any, body: dict[str, Any]) -> Answer:
        if not self._stream:
            return self._api.read(self._api.call(client, body, stream=False))
        with self._api.call(client, body, stream=True) as events, self._reading():
            return self._api.assemble(events)

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """While a stream is read, a lost connection or an overloaded server means a broken stream."""
        sdk = require(self.provider, extra=self.provider)
        try:
            yield
        except (sdk.APIConnectionError, transport_error(sdk)) as error:
            raise BrokenStream(f"the stream broke off: {error}") from None
        except sdk.APIError as error:
            if is_final(error):
                raise
            throttled = is_throttling(error)
            raise BrokenStream(f"the stream broke off: {message_of(error)}", throttled=throttled) from None

    def _connect(self) -> Any:
        """The SDK's client, made once."""
        with self._lock:
            if self._connection is None:
                base_url = self._address
                self._key = self.check_key()
                sdk = require(self.provider, extra=self.provider)
                self._connection = getattr(sdk, self.client)(
                    api_key=self._key or "none",
                    base_url=base_url,
                    timeout=self._timeout,
                    max_retries=0,
                    http_client=sdk.DefaultHttpxClient(
                        headers=PLAIN, event_hooks={"response": [bounding(http_library(sdk), largest=self.largest)]}
                    ),
                )
                self._api.method(self._connection)
            return self._connection

    def _is_home(self, client: Any) -> bool:
        """Whether a client of the SDK asks the provider itself."""
        return f".{urlsplit(str(client.base_url)).hostname or ''}".endswith(f".{self.home}")

    @property
    def _address(self) -> str | None:
        return self._base_url or os.environ.get(self.base_url_variable) or None

    def _does_without(self, error: Any, body: Mapping[str, Any]) -> bool:
        """Whether the server refused a field that can be left out, so that asking again helps."""
        said = f"'{getattr(error, 'param', '')}' {error.message} {error.body}"
        for field, dispensable in self._api.dispensable.items():
            if field in body and field not in self._extra and dispensable.refused_in(said):
                with self._lock:
                    first = field not in self._without
                    self._without.add(field)
                if first and dispensable.lost:
                    message = self._redacted(f"{self.name} takes no {dispensable.lost}. It said: {message_of(error)}")
                    warnings.warn(message, stacklevel=2)
                return True
        return False

    # ── Errors ────────────────────────────────────────────────────────────────────────────────────────────────────

    def _failed(self, error: Any, retries: Retries | None = None) -> ModelError:
        """The provider's own message, its request id and, where there is one, what to check."""
        status, request_id = getattr(error, "status_code", 0), getattr(error, "request_id", None)
        facts = [f"HTTP {status}"] if status else []
        if retries:
            facts.append(str(retries))
        said = f"{message_of(error)} ({', '.join(facts)})" if facts else message_of(error)
        hint = self.hints.get(status)
        message = " ".join(filter(None, [said, request_id and f"[request {request_id}]", hint]))
        return self._error(message, kind=kind_of(error))

    def _error(self, message: str, *, kind: type[ModelError] = ModelError) -> ModelError:
        return kind(self._redacted(f"{self.name}: {message}"))

    def _scrubbed(self, reply: Reply) -> Reply:
        """A reply without the key, should the server repeat it there: replies are recorded."""
        text = scrubbed(reply.text, [self._key])
        return reply if text == reply.text else replace(reply, text=text)

    def _redacted(self, message: str) -> str:
        """A message without the key, and without what a terminal would act upon."""
        return plain(message.replace(self._key, "[key]") if self._key else message)


class _Passing(Transient):
    """An error of the SDK after which another attempt may succeed."""

    def __init__(self, error: Any) -> None:
        response = getattr(error, "response", None)
        asked = retry_after(response.headers) if response is not None else None
        super().__init__(str(error), retry_after=asked, status=getattr(error, "status_code", None))
        self.error = error
        self.throttled = self.status in THROTTLED


def _may_pass(error: Any) -> bool:
    """Whether another attempt may succeed; some servers say that none will."""
    response = getattr(error, "response", None)
    return kind_of(error) is Unanswered and (response is None or response.headers.get("x-should-retry") != "false")


def _hear(error: BaseException) -> None:
    """Tell the rate limiter that the server was asked too much, if that is why."""
    if getattr(error, "throttled", False):
        throttled(getattr(error, "retry_after", None))


def _is_address(url: str | None) -> bool:
    return url is None or url.startswith(("http://", "https://"))
