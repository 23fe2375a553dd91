"""An HTTP endpoint in the shape of a chat model, so that a run bills, records and replays its calls."""

from __future__ import annotations

import json
import os
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ...bodies import PLAIN, TooLarge, bounding
from ...checks import check_argument
from ...core import Completion, Reply, Request, Usage
from ...credentials import check_no_key, scrubbed
from ...errors import ModelError, Unanswered, UserError, require
from ...retries import Retries, Transient, is_transient, retry_after
from ...text import plain

if TYPE_CHECKING:
    from ssl import SSLContext

    from httpx2 import Client, Response

SHOWN = 300  # characters of a server's message
VARIABLE = re.compile(r"\$\{(\w+)\}")
BLAMES_REQUEST = (400, 413, 414, 422)
"""Statuses that blame what was sent, and with it the prompt; others blame the address, the key or the server."""
REMEDY = "Put it into an environment variable, and send it in a header that holds ${NAME} in its place."


class Endpoint:
    """Sends requests and takes the output from the answers. Safe to use from several threads.

    A message is a request, ``[url, body]`` as JSON. A reply is the output as JSON, or empty where there was none; where
    the server refused this one request, it is a refusal with the server's words.

    Args:
        url: of the endpoint, maybe with placeholders; each request brings its own.
        method, headers, output, timeout, retries, price: as in :class:`promptopt.targets.http.Http`.

    Attributes:
        problem: why the last answer without an output had none.

    Raises:
        UserError: the url is none, or a key stands in the url or the headers.
        MissingExtra: httpx2 is not installed.
    """

    def __init__(
        self,
        *,
        url: str,
        method: str,
        headers: Mapping[str, str],
        output: str | None,
        timeout: float,
        retries: int,
        price: float = 0.0,
    ) -> None:
        check_no_key("url", url, remedy=REMEDY)
        check_argument("url", url, allowed="an http:// or https:// address", holds=_is_address(url))
        for name, value in headers.items():
            if not (_is_plain(name) and _is_plain(value)):
                raise UserError(f"the header {name!r} holds something else than printable ASCII.")
        check_no_key("headers", headers, remedy=REMEDY)
        parts = urlsplit(url)
        self._name = f"http:{parts.netloc}{parts.path}"
        self._method, self._headers, self._output = method, dict(headers), output
        self._http = require("httpx2", extra="http")
        self._timeout, self._retries, self._price = timeout, retries, price
        self._lock = threading.Lock()
        self._client: Client | None = None
        self._tls: SSLContext | None = None
        self._users = 0
        self.problem = ""

    @property
    def name(self) -> str:
        """``http:`` and the address, without its query."""
        return self._name

    def at_most(self, request: Request, /) -> Usage:
        """One call at its price."""
        return Usage(calls=request.n, dollars=request.n * self._price)

    def expected(self, request: Request, /) -> Usage:
        """The same: what it costs is known."""
        return self.at_most(request)

    def complete(self, request: Request, /) -> Completion:
        """Send the request in the last message, within :meth:`open`; the rest says nothing to an endpoint.

        Raises:
            Unanswered: a transient error outlasted the retries.
            ModelError: the server refuses whatever it is sent.
            UserError: an environment variable is not set.
        """
        url, body = json.loads(request.messages[-1].text)
        response = self._send(url, body)
        reply = Reply(self._read(response)) if response.is_success else Reply(self._said(response), "refusal")
        return Completion((reply,), self.at_most(request))

    @contextmanager
    def open(self) -> Iterator[None]:
        """Keep connections open for the requests within the block; whoever leaves last closes them."""
        with self._lock:
            self._users += 1
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                if self._client is not None and not self._users:
                    self._client.close()
                    self._client = None

    # ── Sending ───────────────────────────────────────────────────────────────────────────────────────────────────

    def _send(self, url: str, body: Any) -> Response:
        """The answer to a request, or what is said against it, tried again after transient errors."""
        client, headers = self._connect(), self._resolved()
        content = None if body is None else json.dumps(body).encode()
        retries = Retries(self._retries, on=Transient, name=self._name, timeout=self._timeout)
        try:
            return retries(lambda: self._attempt(client, url, headers, content))
        except Transient as error:
            raise Unanswered(str(self._error(f"{error} ({retries})"))) from None

    def _attempt(self, client: Client, url: str, headers: Mapping[str, str], content: bytes | None) -> Response:
        """One attempt. Raises :class:`Transient` where another may succeed."""
        http = self._http
        try:
            response: Response = client.request(self._method, url, headers=headers, content=content)
        except (http.LocalProtocolError, http.InvalidURL, http.UnsupportedProtocol) as error:
            raise self._error(f"the request cannot be sent: {error}") from None
        except http.RequestError as error:
            raise Transient(f"{type(error).__name__}: {error}") from None
        except TooLarge as error:
            raise Unanswered(str(self._error(str(error)))) from None
        if response.is_success or response.status_code in BLAMES_REQUEST:
            return response
        if not is_transient(response.status_code):
            raise self._error(self._said(response))
        after, status = retry_after(response.headers), response.status_code
        raise Transient(self._said(response), retry_after=after, status=status)

    def _connect(self) -> Client:
        """The client, made for the first request since the last :meth:`open`."""
        with self._lock:
            if self._client is None:
                self._tls = self._tls or self._http.create_ssl_context()  # the slow part of a client
                limits = self._http.Limits(max_connections=None)  # the target's workers are the limit
                hooks = {"response": [bounding(self._http)]}
                self._client = self._http.Client(
                    timeout=self._timeout, limits=limits, verify=self._tls, headers=PLAIN, event_hooks=hooks
                )
            return self._client

    def _resolved(self) -> dict[str, str]:
        """The headers with their environment variables filled in."""
        headers = {name: VARIABLE.sub(_variable, value) for name, value in self._headers.items()}
        return {"content-type": "application/json", **{name.lower(): value for name, value in headers.items()}}

    def _error(self, message: str) -> ModelError:
        return ModelError(plain(f"{self._name}: {self._redacted(message)}"))

    def _redacted(self, text: str) -> str:
        """A text in which no secret stands, whatever the server or the client put into it."""
        for value in self._headers.values():
            for found in VARIABLE.finditer(value):
                text = scrubbed(text, [os.environ.get(found[1], "").strip()], by=found[0])
        return text

    def _clean(self, value: Any) -> Any:
        """A JSON value in whose texts no secret stands."""
        if isinstance(value, str):
            return self._redacted(value)
        if isinstance(value, dict):
            return {self._redacted(name): self._clean(inside) for name, inside in value.items()}
        return [self._clean(inside) for inside in value] if isinstance(value, list) else value

    def _said(self, response: Response) -> str:
        """Status and message of a refusal, with the request's id where there is one."""
        id = response.headers.get("x-request-id", "")
        parts = [
            str(response.status_code),
            response.reason_phrase,
            self._shown(response.text),
            id and f"[request {id}]",
        ]
        return " ".join(filter(None, parts))

    def _shown(self, text: str) -> str:
        """The beginning of a server's text; secrets go before anything is cut, so that no half of one stays."""
        line = plain(self._redacted(" ".join(text.split())))
        return line if len(line) <= SHOWN else line[:SHOWN] + "..."

    # ── Reading ───────────────────────────────────────────────────────────────────────────────────────────────────

    def _read(self, response: Response) -> str:
        """The output as JSON; empty where there is none."""
        if self._output is None:
            return json.dumps(self._redacted(response.text))
        try:
            found = json.loads(response.content)
        except ValueError:
            self.problem = f"the answer is not JSON: {self._shown(response.text)}"
            return ""
        for step in _steps(self._output):
            try:
                found = found[int(step)] if isinstance(found, list) else found[step]
            except (LookupError, TypeError, ValueError):
                there = self._shown(json.dumps(found, ensure_ascii=False))
                self.problem = f"output is {self._output!r}, but there is no {step!r} in {there}"
                return ""
        if found is None:
            self.problem = f"output is {self._output!r}, which is null"
            return ""
        return json.dumps(self._clean(found))


def _steps(path: str) -> list[str]:
    """The steps of a JSON pointer (RFC 6901) or of a dotted path."""
    if path.startswith("/"):
        return [step.replace("~1", "/").replace("~0", "~") for step in path[1:].split("/")]
    return path.split(".") if path else []


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname)


def _variable(found: re.Match[str]) -> str:
    value = os.environ.get(found[1], "").strip()
    if not value:
        raise UserError(f"a header needs the environment variable {found[1]}, which is not set.")
    if not _is_plain(value):  # clients quote what they refuse to send, and with it the key
        raise UserError(f"the environment variable {found[1]} holds something else than printable ASCII.")
    return value


def _is_plain(text: str) -> bool:
    return text.isascii() and text.isprintable()
