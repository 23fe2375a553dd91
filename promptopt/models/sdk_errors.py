"""What the errors of the ``openai`` and the ``anthropic`` package mean; the two have the same shape."""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping
from typing import Any

__all__ = ["THROTTLED", "TRANSIENT", "is_final", "is_throttling", "message_of", "transport_error"]

THROTTLED = (429, 503, 529)
TRANSIENT = (408, 409, 429)
"""Besides 5xx: what the SDKs retry."""


def message_of(error: Any) -> str:
    """What the provider said, without its JSON; of a lost connection, the reason."""
    body = error.body
    inner = body.get("error", body) if isinstance(body, Mapping) else body
    said = inner.get("message") if isinstance(inner, Mapping) else None
    if isinstance(said, str) and said:
        return said
    shown = [error.message.rstrip("."), str(error.__cause__ or ""), re.sub(r"\s+", " ", str(body or ""))[:200]]
    return ": ".join(dict.fromkeys(filter(None, shown)))


def _kinds(error: Any) -> tuple[Any, Any]:
    """The code and the type in an error's body."""
    body = error.body if isinstance(error.body, Mapping) else {}
    inner = body.get("error", body)
    return (inner.get("code"), inner.get("type")) if isinstance(inner, Mapping) else (None, None)


def is_final(error: Any) -> bool:
    """Whether an error that came within a stream is one that asking again would not mend."""
    code, kind = _kinds(error)
    if isinstance(code, int):
        return 400 <= code < 500 and code not in TRANSIENT
    return kind in ("invalid_request_error", "authentication_error", "permission_error", "not_found_error")


def is_throttling(error: Any) -> bool:
    """Whether an error that came within a stream says that the server was asked too much."""
    return bool({*_kinds(error)} & {*THROTTLED, "overloaded_error", "rate_limit_error"})


def transport_error(sdk: Any) -> type[Exception]:
    """The root of the errors of the HTTP library under an SDK: httpx, or its successor."""
    library = sdk.DefaultHttpxClient.__base__.__module__.partition(".")[0]
    error: type[Exception] = importlib.import_module(library).HTTPError
    return error
