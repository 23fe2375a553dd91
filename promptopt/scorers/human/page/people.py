"""Who is who on the page: browsers, and the names that they took.

A browser that comes with the link gets a cookie of its own, signed with the page's token, so that nothing has to be
kept for it. A name belongs to the browser that used it first, for as long as the page is served; with invitations, to
whoever has the link made for that name, for good.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import threading
import unicodedata
from collections.abc import Sequence
from typing import Any

from ....checks import check_argument
from ....core import Duel

__all__ = ["LONGEST_NAME", "MOST_NAMES", "People", "is_name"]

LONGEST_NAME = 40  # characters
MOST_NAMES = 1000


class People:
    """Knows browsers by their cookies, and which names are theirs. Safe to use from several threads.

    Args:
        token: what the link ends with; a new one makes all cookies worthless.
        invited: names that have a link of their own. If there are any, there is no link for everybody.

    Raises:
        UserError: an invited name is none, or stands there twice.
    """

    def __init__(self, token: str, invited: Sequence[str] = ()) -> None:
        holds = len({same(name) for name in invited}) == len(invited) <= MOST_NAMES and all(map(is_name, invited))
        allowed = f"different names of 1 to {LONGEST_NAME} printable characters, {MOST_NAMES} at most"
        check_argument("invite", list(invited), allowed=allowed, holds=holds)
        self._secret = token.encode()
        self._lock = threading.Lock()
        self._links = {self._signed("link", same(name)): name for name in invited} or {token: ""}
        self._holders = {same(name): self._signed("invited", same(name)) for name in invited}
        self._invited = frozenset(self._holders)

    @property
    def links(self) -> dict[str, str]:
        """By the token that a link ends with: whose it is, or ``""`` if everybody's."""
        return dict(self._links)

    def cookie(self, token: str, before: str) -> str | None:
        """The cookie of whoever comes with a link; None if the link does not hold.

        Args:
            token: what the link ends with.
            before: the cookie that the browser has already, which it keeps; or ``""``.
        """
        found = next((name for one, name in self._links.items() if _equal(one, token)), None)
        if found is None:
            return None
        if found:
            return self._of(self._holders[same(found)])
        return before if self.person(before) else self._of(secrets.token_hex(16))

    def person(self, cookie: str) -> str | None:
        """Whose cookie it is; None if it is none of this page."""
        person, _, signature = cookie.partition(".")
        return person if person and _equal(signature, self._signed("person", person)) else None

    def has(self, person: str, name: str) -> bool:
        """Whether a name is a person's; one that is nobody's is, from now on."""
        key = same(name)
        with self._lock:
            if self._invited or len(self._holders) >= MOST_NAMES:
                return self._holders.get(key) == person
            return self._holders.setdefault(key, person) == person

    # ── What was dealt ────────────────────────────────────────────────────────────────────────────────────────────

    def ticket(self, name: str, key: int, duel: Duel, *, swapped: bool) -> str:
        """The proof that a duel was dealt to somebody, with these sides. It outlives the page, as its token does."""
        return f"{int(swapped)}{self._signed('dealt', same(name), key, duel.a.text, duel.b.text, swapped)}"

    def sides(self, ticket: str, name: str, key: int, duel: Duel) -> bool | None:
        """Whether the sides were swapped when the duel was dealt; None if the ticket is not for it."""
        swapped = ticket[:1] == "1"
        return swapped if _equal(ticket, self.ticket(name, key, duel, swapped=swapped)) else None

    def _of(self, person: str) -> str:
        return f"{person}.{self._signed('person', person)}"

    def _signed(self, *what: Any) -> str:
        return hmac.new(self._secret, json.dumps(what).encode(), hashlib.sha256).hexdigest()[:32]


def is_name(name: str) -> bool:
    """Whether somebody can be called that."""
    return len(name.strip()) > 0 and len(name) <= LONGEST_NAME and name.isprintable()


def same(name: str) -> str:
    """Equal for names that nobody could tell apart on a list: ``Ada`` and ``ada``."""
    return unicodedata.normalize("NFKC", name).casefold().strip()


def _equal(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode("utf-8", "replace"), other.encode("utf-8", "replace"))
