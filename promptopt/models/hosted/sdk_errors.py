"""What the errors of the ``openai`` and the ``anthropic`` package mean; the two have the same shape."""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping
from typing import Any

from ...errors import ModelError, Rejected, Unanswered
from ...retries import is_transient

__all__ = [
    "BLAMES_REQUEST",
    "THROTTLED",
    "http_library",
    "is_final",
    "is_moderation",
    "is_throttling",
    "kind_of",
    "message_of",
    "transport_error",
]

THROTTLED = (429, 503, 529)

BLAMES_REQUEST = (400, 413, 422)
"""What is said of one request for what stands in it, and of all of them for wrong settings."""

MODERATES = (400, 403, 422)
MODERATED = {"moderation_blocked", "content_policy_violation", "content_filter", "ResponsibleAIPolicyViolation"}
"""Codes of moderation; some servers say it in words alone."""
MODERATION = re.compile(r"safety system|content policy|content moderation", re.I)

NO_CREDIT = re.compile(r"quota|billing|credit|balance", re.I)
"""In an error's code or type: nothing will be answered any more, whatever the status says."""


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


def kind_of(error: Any) -> type[ModelError]:
    """Whether one request failed, and whose fault that is, or every request will."""
    status = getattr(error, "status_code", None)
    if any(isinstance(kind, str) and NO_CREDIT.search(kind) for kind in _kinds(error)) or _lacks_credit(error):
        return ModelError
    if status in BLAMES_REQUEST:
        return Rejected
    if status is None:
        return ModelError if is_final(error) else Unanswered
    return Unanswered if is_transient(status) else ModelError


def is_moderation(error: Any) -> bool:
    """Whether a provider of pictures refuses a request for what is to be seen."""
    said = {kind for kind in _kinds(error) if isinstance(kind, str)}
    return error.status_code in MODERATES and (bool(said & MODERATED) or bool(MODERATION.search(message_of(error))))


def _lacks_credit(error: Any) -> bool:
    """Anthropic says so in words alone, with the status of a bad request."""
    return "credit balance is too low" in message_of(error)


def is_final(error: Any) -> bool:
    """Whether an error that came within a stream is one that asking again would not mend."""
    code, kind = _kinds(error)
    if isinstance(code, int):
        return code >= 400 and not is_transient(code)
    return kind in ("invalid_request_error", "authentication_error", "permission_error", "not_found_error")


def is_throttling(error: Any) -> bool:
    """Whether an error that came within a stream says that the server was asked too much."""
    return bool({*_kinds(error)} & {*THROTTLED, "overloaded_error", "rate_limit_error"})


def http_library(sdk: Any) -> Any:
    """The HTTP library under an SDK: httpx, or its successor."""
    return importlib.import_module(sdk.DefaultHttpxClient.__base__.__module__.partition(".")[0])


def transport_error(sdk: Any) -> type[Exception]:
    """The root of the errors of the HTTP library under an SDK."""
    error: type[Exception] = http_library(sdk).HTTPError
    return error
