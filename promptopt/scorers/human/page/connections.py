"""The page's connections: how many there may be, how long each may take, and how much is said of it.

A connection has to bring its request within :data:`READING` seconds and is over within :data:`WHOLE`. Where there are
too many, the one that has waited longest without a cookie of the page makes room: strangers push out each other.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import socket
import time
from collections.abc import Callable, Sequence
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

__all__ = ["Room", "Server"]

READING = 10.0  # seconds within which a whole request has to come in
WHOLE = 60.0  # seconds within which the answer has to be read, too
MOST = 1000  # connections; fewer where the process may open fewer files
BURST = 128  # connections accepted at a time
LINES, PER = 20, 60.0  # lines of log in so many seconds
LOG = logging.getLogger("uvicorn.error")


class Room:
    """Room for so many connections.

    Args:
        knows: whether the headers of a request hold a cookie of this page.
        most: connections at a time.
        reading: seconds for a request.
        whole: seconds for a request and its answer.
    """

    def __init__(self, knows: Callable[[Any], bool], *, most: int, reading: float, whole: float) -> None:
        self.knows, self.most, self.reading, self.whole = knows, most, reading, whole
        self.strangers: dict[Connection, None] = {}  # the oldest first

    def let_in(self, new: Connection) -> None:
        """Take a connection in, and let another one go if there are too many; nobody who is known and busy."""
        self.strangers[new] = None
        if len(new.connections) > self.most:
            idle = (one for one in new.connections if isinstance(one, Connection) and one.is_idle)
            gone = next((one for one in self.strangers if one is not new), None) or next(idle, new)
            gone.drop()


class Connection(H11Protocol):
    """A connection with deadlines."""

    def __init__(self, *args: Any, room: Room, **options: Any) -> None:
        super().__init__(*args, **options)
        self._room = room
        self._heading = True  # a request is to come, or has begun to

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the clock."""
        super().connection_made(transport)
        self._begun = self.loop.time()
        self._timer = self.loop.call_later(self._room.reading, self._check)
        self._room.let_in(self)

    def data_received(self, data: bytes) -> None:
        """Start the clock again with every request."""
        before = self.cycle
        if not self._heading and before.response_complete:
            self._heading, self._begun = True, self.loop.time()
        super().data_received(data)
        if self.cycle is not before:
            self._heading = False
            if self in self._room.strangers and self._room.knows(self.headers):
                del self._room.strangers[self]

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the clock."""
        self._timer.cancel()
        self._room.strangers.pop(self, None)
        super().connection_lost(exc)

    def drop(self) -> None:
        """Close it now, whatever is under way."""
        self._room.strangers.pop(self, None)
        self.connections.discard(self)
        self.transport.abort()

    @property
    def is_idle(self) -> bool:
        """Whether its last request is answered and no other has begun."""
        return not self._heading and self.cycle.response_complete and not self.cycle.more_body

    def _check(self) -> None:
        reads = self._heading or self.cycle.more_body
        allowed = self._room.reading if reads else self._room.whole
        late = self._begun + allowed - self.loop.time()
        if late <= 0 and not self.is_idle:
            self.drop()
        else:
            self._timer = self.loop.call_later(late if late > 0 else self._room.reading, self._check)


class Server(uvicorn.Server):
    """Uvicorn with room for so many connections, and few words.

    Args:
        app: what is served.
        knows: whether the headers of a request hold a cookie of this page.
    """

    def __init__(self, app: Any, knows: Callable[[Any], bool]) -> None:
        files = _most_files()
        room = Room(knows, most=max(8, min(MOST, files // 2)), reading=READING, whole=WHOLE)
        super().__init__(
            uvicorn.Config(
                app,
                http=functools.partial(Connection, room=room),  # type: ignore[arg-type]
                ws="none",
                log_config=None,
                access_log=False,
                lifespan="off",
                backlog=max(8, min(BURST, files // 8)),  # that many are accepted before any of them is looked at
                timeout_graceful_shutdown=1,
            )
        )

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve until it is over."""
        few = Few()
        LOG.addFilter(few)
        asyncio.get_running_loop().set_exception_handler(_say)
        try:
            await super().serve(sockets)
        finally:
            LOG.removeFilter(few)


class Few(logging.Filter):
    """Lets through :data:`LINES` lines in :data:`PER` seconds."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._since, self._said = clock(), 0

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a line may be said."""
        if self._clock() - self._since >= PER:
            self._since, self._said = self._clock(), 0
        self._said += 1
        if self._said == LINES:
            record.msg, record.args = f"{record.getMessage()} (no more of these lines for a minute)", ()
        return self._said <= LINES


def _say(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """One line, without a traceback."""
    LOG.warning("%s: %s", context.get("message"), context.get("exception"))


def _most_files() -> int:
    """How many files this process may have open."""
    try:
        import resource
    except ImportError:  # not on Windows
        return 2 * MOST
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 2 * MOST if soft == resource.RLIM_INFINITY else soft


def cookies(headers: Sequence[tuple[bytes, bytes]]) -> dict[str, str]:
    """The cookies of a request."""
    from starlette.requests import cookie_parser

    return cookie_parser("; ".join(value.decode("latin-1") for name, value in headers if name == b"cookie"))
