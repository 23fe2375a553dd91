"""Serves the desk to browsers.

Who has the link may join: its token is exchanged for a cookie, another one for each browser, and leaves the address
bar. Whatever a browser sends, it sends with that cookie, under a name that is its own; texts reach it as JSON and
pictures as pictures, never as markup.
"""

from __future__ import annotations

import hashlib
import json
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar
from urllib.parse import quote, urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, ValidationError
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from ....core import Picture
from ..desk import Desk, Shown
from ..view import Part
from .address import Address
from .connections import Server, cookies
from .people import LONGEST_NAME, MOST_NAMES, is_name

__all__ = ["Page"]

S = TypeVar("S", bound="Sent")
HERE = Path(__file__).parent
FILES = {"/": "page.html", "/page.js": "page.js", "/page.css": "page.css", "/page.svg": "page.svg"}
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}
LARGEST = 10_000  # bytes that a browser may send at a time
LASTS = 30 * 24 * 3600  # seconds that a browser keeps its cookie, and so its name
PARTING = 3.0  # seconds in which open pages may learn that the run is over; they ask every two


def _is_name(name: str) -> str:
    if not is_name(name):
        raise ValueError("a name has printable characters only")
    return name


class Sent(BaseModel):
    """What a page sends: who it is, and with an undo the duel to show again."""

    model_config = ConfigDict(strict=True, extra="forbid")

    name: Annotated[
        str,
        StringConstraints(strip_whitespace=True, min_length=1, max_length=LONGEST_NAME),
        AfterValidator(_is_name),
    ]
    duel: int | None = None


class AnnotatorAnswer(Sent):
    """An answer: which duel, how often this annotator had answered it before, the choice, and what came with the duel.

    The ticket is needed only where the run was taken up since the duel was dealt.
    """

    duel: int
    again: Annotated[int, Field(ge=0)]
    choice: Literal["left", "right", "tie", "unknown"]
    ticket: Annotated[str, StringConstraints(max_length=100)] = ""


class AsciiJSONResponse(JSONResponse):
    """JSON in ASCII, which also holds the half characters that some models write."""

    def render(self, content: Any) -> bytes:
        return json.dumps(content, allow_nan=False).encode()


class Page:
    """A server in a thread of its own, from the first wait until the run is over.

    Args:
        desk: where the duels lie.
        address: where to serve.
        question: what is asked.
        context: shown above every duel.
        progress: where the run stands; its budget is shown, never its best prompt.
    """

    def __init__(self, desk: Desk, address: Address, question: str, context: str, progress: Callable[[], Any]) -> None:
        self._desk = desk
        self._address = address
        self.people = address.people
        self._texts = {"question": question, "context": context}
        self._progress = progress
        self._pictures: dict[str, Picture] = {}
        self._server: Server | None = None
        self._parted: set[str] = set()

    def start(self) -> None:
        """Serve, and say where on standard error.

        Raises:
            UserError: the address cannot be had.
        """
        if self._server:
            return
        listening = self._address.open()
        self._server = Server(self.app(), lambda headers: self.person(cookies(headers)) is not None)
        self._thread = threading.Thread(
            target=self._server.run, args=([listening],), name="promptopt-page", daemon=True
        )
        self._thread.start()
        for name, link in self._address.links.items():
            print(f"Duels are answered{name and f' by {name}'} at {link}", file=sys.stderr, flush=True)

    def attend(self) -> bool:
        """Wait until something has happened at the desk; False once it is closed."""
        self._desk.changed.wait()
        return not self._desk.closed

    def close(self) -> None:
        """Let open pages learn that the run is over, then stop serving."""
        if not self._server:
            return
        until = time.monotonic() + PARTING
        while self._desk.present > len(self._parted) and time.monotonic() < until:
            time.sleep(0.02)
        self._server.should_exit = True
        self._thread.join(PARTING)

    # ── The server ────────────────────────────────────────────────────────────────────────────────────────────────

    def app(self) -> Starlette:
        """The routes."""
        looks = {"/look": self._look, "/undo": self._undo, "/leave": self._leave}
        return Starlette(
            routes=[
                *(Route(path, self._file, methods=["GET"]) for path in FILES),
                *(Route(path, _posted(self, Sent, act), methods=["POST"]) for path, act in looks.items()),
                Route("/answer", _posted(self, AnnotatorAnswer, self._answer), methods=["POST"]),
                Route("/picture/{key}", self._picture, methods=["GET"]),
            ],
            middleware=[
                Middleware(Headers),
                Middleware(TrustedHostMiddleware, allowed_hosts=self._address.hosts, www_redirect=False),
            ],
        )

    def person(self, cookies: Mapping[str, str]) -> str | None:
        """Who has these cookies; None if nobody who was let in."""
        return self.people.person(cookies.get(self._address.cookie, ""))

    def admits(self, request: Request) -> str | None:
        """Who sent a request, if it comes from this very page; None if it does not."""
        origin = request.headers.get("origin")
        same = origin is None or urlsplit(origin).netloc == request.headers.get("host")
        return self.person(request.cookies) if same else None

    async def _file(self, request: Request) -> Response:
        if request.url.path == "/" and "token" in request.query_params:
            return self._join(request)
        return FileResponse(HERE / FILES[request.url.path])

    def _join(self, request: Request) -> Response:
        """Exchange the token for a cookie of the browser's own."""
        before = request.cookies.get(self._address.cookie, "")
        cookie = self.people.cookie(request.query_params["token"], before)
        if cookie is None:
            return Response("This link is not valid any more. Open the one that promptopt printed last.", 403)
        name = request.query_params.get("as")
        response = RedirectResponse(f"/?as={quote(name)}" if name else "/", 303)
        response.set_cookie(self._address.cookie, cookie, max_age=LASTS, httponly=True, samesite="strict")
        return response

    async def _picture(self, request: Request) -> Response:
        picture = self._pictures.get(request.path_params["key"]) if self.admits(request) else None
        if picture is None:
            return Response(status_code=404)
        return Response(picture.data, media_type=picture.type, headers={"Cache-Control": "private, max-age=86400"})

    # ── What a page can do ────────────────────────────────────────────────────────────────────────────────────────

    def _look(self, sent: Sent) -> dict[str, Any]:
        return self._state(sent.name)

    def _answer(self, sent: AnnotatorAnswer) -> dict[str, Any]:
        duel = self._desk.duel(sent.duel)
        swapped = self.people.sides(sent.ticket, sent.name, sent.duel, duel) if duel else None
        if swapped is not None:
            self._desk.vouch(sent.name, sent.duel, swapped=swapped)
        kept = self._desk.answer(sent.name, sent.duel, sent.choice, again=sent.again)
        return {"kept": kept, **self._state(sent.name)}

    def _undo(self, sent: Sent) -> dict[str, Any]:
        self._desk.undo(sent.name, sent.duel)
        return self._state(sent.name)

    def _leave(self, sent: Sent) -> dict[str, Any]:
        self._desk.leave(sent.name)
        return {}

    def _state(self, name: str) -> dict[str, Any]:
        """What a page shows: the annotator's duel, and how far everybody is; nothing of what the search thinks."""
        over = self._desk.closed
        shown = self._desk.deal(name)
        if over:
            self._parted.add(name)
        standing, now = self._desk.standing(), self._progress()
        return {
            **self._texts,
            "over": over,
            "duel": shown and self._shown(name, shown),
            "undo": self._desk.undoable(name),
            "answered": standing.answered,
            "budget": now.budget.questions if now else None,
            "mine": standing.by.get(name, 0),
            "annotators": standing.present,
            "doubled": standing.doubled,
            "agreed": standing.agreed,
            "kappa": standing.kappa,
        }

    def _shown(self, name: str, shown: Shown) -> dict[str, Any]:
        rows = []
        for row in shown.view.rows:
            left, right = (row.b, row.a) if shown.swapped else (row.a, row.b)
            rows.append({"given": self._parts(row.given), "left": self._parts(left), "right": self._parts(right)})
        ticket = self.people.ticket(name, shown.key, shown.duel, swapped=shown.swapped)
        return {"key": shown.key, "again": shown.again, "ticket": ticket, "rows": rows}

    def _parts(self, parts: Sequence[Part]) -> list[dict[str, str]]:
        return [
            {"title": title, "picture": self._address_of(part)}
            if isinstance(part, Picture)
            else {"title": title, "text": part}
            for title, part in parts
        ]

    def _address_of(self, picture: Picture) -> str:
        key = hashlib.sha256(picture.data).hexdigest()[:32]
        self._pictures[key] = picture
        return f"/picture/{key}"


class Headers:
    """Sets :data:`HEADERS` on every response that has none of its own."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def with_headers(message: Any) -> None:
            if message["type"] == "http.response.start":
                there = {key for key, _ in message["headers"]}
                ours = {key.lower().encode(): value.encode() for key, value in HEADERS.items()}
                message["headers"] = [*message["headers"], *((k, v) for k, v in ours.items() if k not in there)]
            await send(message)

        await self._app(scope, receive, with_headers)


def _posted(page: Page, kind: type[S], act: Callable[[S], dict[str, Any]]) -> Callable[[Request], Awaitable[Response]]:
    """An endpoint that does something with what a page sent."""

    async def endpoint(request: Request) -> Response:
        person = page.admits(request)
        if person is None:
            return JSONResponse({"error": "Open the link that promptopt printed last."}, 403)
        try:
            body = await _body(request)
        except ClientDisconnect:
            return Response(status_code=400)  # to nobody
        if body is None:
            return JSONResponse({"error": "too long"}, 413, {"Connection": "close"})
        try:
            sent = kind.model_validate_json(body)
        except ValidationError as error:
            return JSONResponse({"error": str(error)[:LARGEST]}, 400)
        if not page.people.has(person, sent.name):
            return JSONResponse({"error": f"{sent.name} is somebody else, or there are {MOST_NAMES} names."}, 409)
        return AsciiJSONResponse(await run_in_threadpool(act, sent))

    return endpoint


async def _body(request: Request) -> bytes | None:
    """What was sent, read no further than :data:`LARGEST` bytes; None if there is more."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > LARGEST:
            return None
    return body
