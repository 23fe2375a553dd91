"""Any ``dspy.LM``, and with it the providers that DSPy and litellm know."""

from __future__ import annotations

import importlib
import os
import re
import threading
import warnings
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from ..checks import check_argument
from ..core import Completion, Reply, Request, Usage
from ..credentials import check_no_key, scrubbed
from ..errors import ModelError, Rejected, Unanswered, UserError, require
from ..retries import Late, Retries
from ..text import plain
from .hosted.prices import price_for
from .hosted.sdk_errors import BLAMES_REQUEST, THROTTLED
from .hosted.wire import PICTURE_TOKENS, Ask, again, clean, cut, most_read
from .openai import ChatCompletions
from .wrappers.limit import throttled

__all__ = ["DSPy"]

MAX_TOKENS = 1024
TIMEOUT = 600.0  # seconds for an attempt, where the LM has no timeout of its own
SECRET = re.compile(r"(API_KEY|_TOKEN|SECRET\w*)$")

NOT_SENT = (
    *("api_key", "api_base", "base_url", "headers", "extra_headers", "timeout", "api_version", "organization"),
    *("project", "extra_query", "custom_llm_provider", "azure_ad_token_provider"),
    *("n", "rollout_id", "num_generations", "prompt_cache", "max_tokens", "max_completion_tokens"),
)
"""Settings of a ``dspy.LM`` that are no part of a request's body, or that the request sets itself."""


class DSPy:
    """A chat model over a ``dspy.LM`` of DSPy 3.4.

    DSPy reaches the provider through its own engine or through litellm, as the LM says. Keys come from the
    environment variables that they read. The LM is copied: its cache is off, so that every call that is counted was
    made; nothing is written into its history or DSPy's, and no setting of DSPy's is changed. ``n`` replies are ``n``
    requests. Nothing is imported or sent before the first request. One object may be used from many threads.

    A transient error is retried as often as the LM says (``num_retries``). A provider that refuses the seed, the
    temperature or the schema is asked without from then on, with a warning.

    Args:
        model: litellm's name, for example ``anthropic/claude-x`` or ``openai/gpt-x``; from Python, a ``dspy.LM`` also.
        max_tokens: limit on the output of one reply, in tokens; the LM's own by default, or else 1024.
        prices: ``input`` and ``output``, in US dollars per million tokens. Without them those of the user's price file
            for ``dspy:`` and the model's name; without either, dollars are not counted.
        options: further arguments of ``dspy.LM``, for example ``api_base``, ``timeout`` or ``num_retries``.
        picture_tokens: the most tokens that the model counts for one picture; the budget is checked against it.

    Raises:
        UserError: the model is neither a name nor an LM, or there are options besides an LM, or a key among them.
    """

    def __init__(
        self,
        *,
        model: Any,
        max_tokens: int | None = None,
        prices: Mapping[str, float] | None = None,
        options: Mapping[str, Any] | None = None,
        picture_tokens: int = PICTURE_TOKENS,
    ) -> None:
        self._given, self._options = model, dict(options or {})
        if isinstance(model, str) and model.strip():
            remedy = "Keys are read from the environment only, for example OPENAI_API_KEY."
            if "api_key" in self._options:
                raise UserError(f"options: {remedy[:1].lower()}{remedy[1:]}")
            check_no_key("options", self._options, remedy=remedy)
        else:
            holds = hasattr(model, "copy") and hasattr(model, "kwargs") and hasattr(model, "model")
            check_argument("model", model, allowed='a name such as "openai/gpt-x", or a dspy.LM', holds=holds)
            if self._options:
                raise UserError("options are for a model given by name; set them on the dspy.LM itself.")
        settings = self._options if isinstance(model, str) else model.kwargs
        own = settings.get("max_tokens") or settings.get("max_completion_tokens") or MAX_TOKENS
        self._max_tokens = max_tokens or int(own)
        self._price = price_for(self.name, prices)
        self._picture_tokens = picture_tokens
        self._lock = threading.Lock()
        self._lm: Any = None
        self._without: set[str] = set()

    @property
    def name(self) -> str:
        """``dspy:`` and the LM's name for the model."""
        return f"dspy:{self._given if isinstance(self._given, str) else self._given.model}"

    @property
    def identity(self) -> dict[str, Any] | None:
        """What besides the name makes the replies differ, as JSON values; caches need it.

        None for an LM with an engine or a ``forward`` of its own: what its replies depend on is not known.
        """
        if not isinstance(self._given, str) and not _is_plain(self._given):
            return None
        settings = self._options if isinstance(self._given, str) else self._given.kwargs
        shown = {
            key: repr(value) for key, value in settings.items() if "key" not in key and "token_provider" not in key
        }
        return {"settings": shown, "max_tokens": self._max_tokens}

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should hear before the first call."""
        return () if self._price else (f"no price known for {self.name}: dollars are not counted",)

    def complete(self, request: Request, /) -> Completion:
        """Sample replies, each with a request and a seed of its own.

        Failed attempts before a retry are not counted. A provider that reports no usage is counted with 0 tokens, with
        a warning.

        Raises:
            Unanswered: a transient error outlasted the retries.
            Rejected: the provider refused this request for what stands in it.
            ModelError: it refuses whatever it is asked.
            MissingExtra: DSPy is not installed.
        """
        replies, usage = [], Usage()
        for number in range(request.n):
            ask = Ask(self._connect().model, again(request, number), request.limit(self._max_tokens))
            reply, cost = self._answer(ask)
            replies.append(cut(reply, request.stop))
            usage += cost
        return Completion(tuple(replies), usage)

    def at_most(self, request: Request, /) -> Usage:
        """An upper bound for :meth:`complete`: every token is at least a byte."""
        read = request.n * most_read(request, self._options, picture_tokens=self._picture_tokens)
        return self._usage(request.n, read, request.n * request.limit(self._max_tokens))

    def check_key(self) -> None:
        """See that there is a key, where DSPy's own engine is to reach the provider. Sends nothing.

        Which variables litellm would read for the others is not known for sure, so those are not checked.

        Raises:
            UserError: there is none.
        """
        lm15, backends = require("dspy.lm15", extra="dspy"), require("dspy.clients.backend_selection", extra="dspy")
        try:
            chosen = backends.select_backend(self._connect())
            if chosen.native and not chosen.resolution.declared and "api_key" not in chosen.clients:
                lm15.LMRouter(lm15.RouterConfig()).lm(f"{chosen.resolution.provider}:{chosen.resolution.model}")
        except lm15.MissingCredentialError as error:
            names = " or ".join(error.env_keys)
            raise UserError(f"{self.name} needs a key: set the environment variable {names}.") from None
        except (lm15.LM15Error, TypeError, ValueError):
            return  # the first call says what is wrong with it

    def _usage(self, calls: int, read: int, wrote: int) -> Usage:
        return Usage(calls, read, wrote, self._price.dollars(read, wrote) if self._price else 0.0)

    # ── One request ───────────────────────────────────────────────────────────────────────────────────────────────

    def _connect(self) -> Any:
        """A copy of the LM, made once, that neither caches nor retries."""
        dspy = require("dspy", extra="dspy")
        with self._lock:
            if self._lm is None:
                lm = dspy.LM(self._given, **self._options) if isinstance(self._given, str) else self._given
                self._retries = lm.num_retries
                self._lm = lm.copy(cache=False, num_retries=0)
                self._import_engine()
            return self._lm

    def _import_engine(self) -> None:
        """Import what DSPy would import within the first attempt, where it would count as waiting."""
        lm15, backends = require("dspy.lm15", extra="dspy"), require("dspy.clients.backend_selection", extra="dspy")
        with suppress(ImportError, lm15.LM15Error, TypeError, ValueError):  # the first call says what is wrong
            if not backends.select_backend(self._lm).native:
                _ = importlib.import_module("litellm").completion

    def _answer(self, ask: Ask) -> tuple[Reply, Usage]:
        """One answered request, tried again after transient errors."""
        exceptions = require("dspy.utils.exceptions", extra="dspy")
        set_to = self._lm.kwargs.get("timeout")
        timeout = float(set_to) if isinstance(set_to, int | float) and set_to > 0 else TIMEOUT
        on = exceptions.is_retryable_lm_error
        retries = Retries(self._retries, on=on, name=self.name, timeout=timeout, refused=_hear)
        try:
            return retries(lambda: self._attempt(ask))
        except Late as error:
            raise Unanswered(f"{self.name}: {error} ({retries})") from None
        except exceptions.LMError as error:
            raise self._failed(error, retries) from None

    def _attempt(self, ask: Ask) -> tuple[Reply, Usage]:
        """One answered request, without the fields that the provider refuses."""
        exceptions = require("dspy.utils.exceptions", extra="dspy")
        while True:
            body = self._body(ask)
            try:
                return self._exchange(body)
            except exceptions.LMError as error:
                if not self._does_without(error, body):
                    raise

    def _body(self, ask: Ask) -> dict[str, Any]:
        """The request as a body of chat completions, with what the LM sets."""
        settings = {key: value for key, value in self._lm.kwargs.items() if key not in NOT_SENT and value is not None}
        body = {**settings, **ChatCompletions().body(ask)}
        return {field: value for field, value in body.items() if field not in self._without}

    def _exchange(self, body: dict[str, Any]) -> tuple[Reply, Usage]:
        dspy, lm15 = require("dspy", extra="dspy"), require("dspy.lm15", extra="dspy")
        tracker = require("dspy.utils.usage_tracker", extra="dspy").UsageTracker()
        try:
            request = lm15.request_from_openai_chat(body)
        except (lm15.LM15Error, TypeError, ValueError) as error:
            raise UserError(f"{self.name}: DSPy cannot send this request: {self._redacted(str(error))}") from None
        with dspy.context(disable_history=True, usage_tracker=tracker):
            response = self._lm(request)
        reply = _reply(response)
        reply = replace(reply, text=scrubbed(reply.text, self._keys()))
        return reply, self._cost(tracker.get_total_tokens().get(self._lm.model, {}))

    def _cost(self, tokens: Mapping[str, Any]) -> Usage:
        read, wrote = tokens.get("prompt_tokens") or 0, tokens.get("completion_tokens") or 0
        if not read:
            warnings.warn(f"{self.name} reports no token usage: only its calls are counted", stacklevel=2)
        return self._usage(1, read, wrote)

    def _does_without(self, error: Any, body: Mapping[str, Any]) -> bool:
        """Whether the provider refused a field that can be left out, so that asking again helps."""
        if error.status not in (400, 422):
            return False
        for field in ("seed", "temperature", "response_format"):
            dispensable = ChatCompletions.dispensable[field]
            if field in body and dispensable.refused_in(error.message):
                with self._lock:
                    first = field not in self._without
                    self._without.add(field)
                if first:
                    said = self._redacted(f"{self.name} takes no {dispensable.lost}. It said: {_message(error)}")
                    warnings.warn(said, stacklevel=2)
                return True
        return False

    # ── Errors ────────────────────────────────────────────────────────────────────────────────────────────────────

    def _failed(self, error: Any, retries: Retries) -> ModelError:
        facts = [f"HTTP {error.status}"] if error.status else []
        facts += [str(retries)] if retries.made or _kind(error) is Unanswered else []
        said = f"{_message(error)} ({', '.join(facts)})" if facts else _message(error)
        request = f" [request {error.request_id}]" if error.request_id else ""
        return _kind(error)(self._redacted(f"{self.name}: {said}{request}"))

    def _redacted(self, message: str) -> str:
        """The message without a key of the LM's or of the environment, and without what a terminal would act upon."""
        return plain(scrubbed(message, self._keys()))

    def _keys(self) -> list[str]:
        """The keys of the LM, and those of the environment."""
        keys = [str(value) for key, value in self._lm.kwargs.items() if "key" in key and value]
        return keys + [value for name, value in os.environ.items() if SECRET.search(name)]


def _hear(error: BaseException) -> None:
    """Tell the rate limiter that the server was asked too much, if that is why."""
    if getattr(error, "status", None) in THROTTLED:
        throttled(getattr(error, "retry_after", None))


def _is_plain(lm: Any) -> bool:
    """Whether an LM is DSPy's own, and reaches a provider through DSPy's engines."""
    return type(lm) is require("dspy", extra="dspy").LM and isinstance(lm.engine, str)


def _reply(response: Any) -> Reply:
    refusal = "".join(clean(part.text) for part in response.message.parts if part.type == "refusal")
    text = clean(response.text)
    if refusal or response.finish_reason == "content_filter":
        return Reply(text or refusal, "refusal")
    return Reply(text, "length" if response.finish_reason == "length" else "stop")


def _kind(error: Any) -> type[ModelError]:
    """Whether one request failed, and whose fault that is, or every request will."""
    exceptions = require("dspy.utils.exceptions", extra="dspy")
    if exceptions.is_retryable_lm_error(error):
        return Unanswered
    blamed = isinstance(error, exceptions.LMInvalidRequestError) and error.status in (*BLAMES_REQUEST, None)
    return Rejected if blamed and not isinstance(error, exceptions.LMUnsupportedModelError) else ModelError


def _message(error: Any) -> str:
    """What the provider said, without DSPy's advice, which is about its own arguments."""
    said: str = error.message.partition("\n\n")[0]
    return said
