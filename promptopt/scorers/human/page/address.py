"""Where the page is served, and who gets in."""

from __future__ import annotations

import ipaddress
import secrets
import socket
from collections.abc import Sequence
from urllib.parse import quote

from ....errors import UserError
from .people import People

__all__ = ["Address"]

EVERY = ("0.0.0.0", "::", "")  # all addresses of this machine


class Address:
    """Where the page is served.

    Attributes:
        people: who gets in.

    Raises:
        UserError: other machines could reach it, and ``public`` does not say that they may; the token is too short; or
            an invited name is none.
    """

    def __init__(self, host: str, port: int, *, public: bool, token: str | None, invite: Sequence[str] = ()) -> None:
        self.local = _is_local(host)
        if not (self.local or public):
            raise UserError(
                f"host is {host!r}, which other machines can reach: whoever has the link could answer, unencrypted. "
                "Say public = true (--public) if that is what you want, or leave host out."
            )
        if token is not None and not (len(token) >= 16 and token.isascii() and token.isalnum()):
            raise UserError("token must be 16 or more letters and digits; leave it out to have one drawn.")
        self.host = host
        self.port = port
        self.token = token or secrets.token_hex(16)
        self.people = People(self.token, invite)

    def open(self) -> socket.socket:
        """A socket that listens; ``port`` is then the one it has.

        Raises:
            UserError: the address cannot be had.
        """
        try:
            listening = socket.create_server((self.host, self.port))
        except (OSError, OverflowError) as error:
            raise UserError(f"cannot serve the page at {self.host}:{self.port}: {error}. Give another port.") from None
        self.port = listening.getsockname()[1]
        return listening

    @property
    def links(self) -> dict[str, str]:
        """What annotators open, by name; ``""`` is everybody."""
        host = socket.gethostname() if self.host in EVERY else self.host
        links = self.people.links.items()
        start = f"http://{host}:{self.port}/?token="
        return {name: start + token + (f"&as={quote(name, safe='')}" if name else "") for token, name in links}

    @property
    def link(self) -> str:
        """What everybody opens, or the first who is invited."""
        return next(iter(self.links.values()))

    @property
    def hosts(self) -> list[str]:
        """The Host headers that are served; others are names that somebody made point here."""
        if self.local:
            return ["127.0.0.1", "localhost", self.host]
        return ["*"] if self.host in EVERY else [self.host]

    @property
    def cookie(self) -> str:
        """Name of the cookie that the token is exchanged for."""
        return f"promptopt-{self.port}"


def _is_local(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
