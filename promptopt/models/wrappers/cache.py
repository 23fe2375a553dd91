"""Replies on disk, so that what was bought once is not bought again by the next run.

An entry is one sample: its key holds the model's name and identity, the messages with their pictures, temperature, seed
and schema, and the sample's index. So three samples after one buy two more, and another ``max_tokens`` or ``base_url``
is another entry. The file holds hashes of the questions and the text of the replies; a key to a provider is no part
of either.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ...core import ChatModel, Choice, Completion, HasIdentity, Message, Reply, Request, Usage
from ...errors import UserError
from ...store import Store, cache_folder
from ..choices import chooser
from ..keys import call_key

__all__ = ["CachedModel", "clear", "info"]

FILE = "replies.sqlite"


class CachedModel:
    """A chat model that looks replies up on disk before it buys them.

    Only complete replies are kept: not a refusal, not one that was cut off, not an empty one. What was found costs
    nothing, calls included.

    A call that names a seed, or samples at temperature 0, is answered alike each time. Any other call that comes again
    asks for a further sample: repeats within the life of this object are different samples, and a new object, in the
    next run, hands them out in the same order.

    Args:
        model: the model. Its attribute ``identity`` lists, as JSON values, what besides its name makes its replies
            differ: ``max_tokens``, ``base_url`` and so on.
        folder: where the file of replies lies; by default the user's cache folder, or ``PROMPTOPT_CACHE``.

    Raises:
        UserError: the model has no ``identity``.
    """

    def __init__(self, model: ChatModel, *, folder: Path | None = None) -> None:
        identity = model.identity if isinstance(model, HasIdentity) else None
        if identity is None:
            raise UserError(f"{model.name} does not say what its replies depend on, so they cannot be cached.")
        self._model = model
        self._who = f"{model.name} {json.dumps(identity, sort_keys=True, default=str)}"
        self._store = Store((folder or cache_folder()) / FILE)
        self._lock = threading.Lock()
        self._given: Counter[str] = Counter()  # samples handed out, of calls whose repeats are further samples

    @property
    def name(self) -> str:
        """The model's own."""
        return self._model.name

    def at_most(self, request: Request, /) -> Usage:
        """The model's own bound, as if nothing were found: what is found, :meth:`recall` says."""
        return self._model.at_most(request)

    def complete(self, request: Request, /) -> Completion:
        """The replies, those that are missing bought in one call. The usage is that call's.

        Samples beyond the first ones are bought with a seed derived from the one given, since the same seed would give
        the first ones again.

        Raises:
            ModelError: the model's own.
        """
        asked = self._asked(request)
        with self._lock:
            first = self._given[asked]
            self._advance(asked, request)
        keys = _keys(asked, first, request.n)
        found = self._find(keys)
        missing = [index for index, key in enumerate(keys) if key not in found]
        if not missing:
            return Completion(tuple(found[key] for key in keys), Usage())
        bought = self._model.complete(
            replace(request, n=len(missing), seed=_further(request.seed, missing[0])),
        )
        new = {keys[index]: reply for index, reply in zip(missing, bought.replies, strict=True)}
        self._store.write({key: _encode(reply) for key, reply in new.items() if _is_whole(reply)})
        return Completion(tuple((found | new)[key] for key in keys), bought.usage)

    def recall(self, request: Request, /) -> Completion | None:
        """What :meth:`complete` would return, if all of it is on disk and so costs nothing; else None."""
        asked = self._asked(request)
        with self._lock:
            keys = _keys(asked, self._given[asked], request.n)
            found = self._find(keys)
            if len(found) < request.n:
                return None
            self._advance(asked, request)
        return Completion(tuple(found[key] for key in keys), Usage())

    def skip(self, request: Request, /) -> None:
        """Take a call as answered already, by a ledger that is replayed: the same call again is a further sample."""
        with self._lock:
            self._advance(self._asked(request), request)

    def choose(self, messages: Sequence[Message], options: Sequence[str], /) -> Choice:
        """What the model says; not cached, since models that choose compute on this machine."""
        return chooser(self._model).choose(messages, options)

    def at_most_to_choose(self, messages: Sequence[Message], options: Sequence[str], /) -> Usage:
        """The model's own bound."""
        return chooser(self._model).at_most_to_choose(messages, options)

    def _advance(self, asked: str, request: Request) -> None:
        if request.seed is None and request.temperature > 0:
            self._given[asked] += request.n

    def _asked(self, request: Request) -> str:
        return call_key(self._who, replace(request, n=1))

    def _find(self, keys: Sequence[bytes]) -> dict[bytes, Reply]:
        return {key: Reply(value.decode("utf-8", "surrogatepass")) for key, value in self._store.read(keys).items()}


def info() -> str:
    """How many replies are on disk, how large the file is and where it lies, in one line."""
    store = Store(cache_folder() / FILE)
    size = store.path.stat().st_size if store.path.exists() else 0
    return f"{len(store):,} replies, {size / 1e6:.1f} MB: {store.path}"


def clear() -> str:
    """Remove every reply from the disk.

    Returns:
        What was removed, in one line.
    """
    before = info()
    Store(cache_folder() / FILE).clear()
    return f"Removed {before}"


def _keys(asked: str, first: int, n: int) -> list[bytes]:
    return [hashlib.sha256(f"{asked} {first + index}".encode()).digest() for index in range(n)]


def _is_whole(reply: Reply) -> bool:
    return reply.finish == "stop" and bool(reply.text.strip())


def _encode(reply: Reply) -> bytes:
    return reply.text.encode("utf-8", "surrogatepass")


def _further(seed: int | None, index: int) -> int | None:
    """The seed for samples from ``index`` on: 31 bits, which every server takes."""
    if seed is None or index == 0:
        return seed
    return int.from_bytes(hashlib.sha256(f"{seed} {index}".encode()).digest()[:4], "big") >> 1
