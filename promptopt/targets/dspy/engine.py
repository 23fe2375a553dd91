"""A DSPy program's LM calls, answered by our chat models: an engine for ``dspy.LM(engine=...)``.

DSPy hands an engine one request and takes one response; caching, retries and history are its LM's, and are off here,
since the run has its own. What happens in one attempt of a program is kept in an :class:`Attempt`, which DSPy's
settings carry into every thread and task that DSPy itself begins.
"""

from __future__ import annotations

import asyncio
import threading
import zlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal

import numpy as np

from ...core import ChatModel, Completion, Failed, Message, Missing, Picture, Reply, Request
from ...errors import Rejected, Unanswered, UserError, require
from ...replies import NoReply

__all__ = ["Attempt", "AsyncEngine", "Engine", "billed_lm", "within"]

KEY = "promptopt_attempt"
"""Under which DSPy's settings hold the attempt under way."""

UNSAID = ("top_p", "top_k", "reasoning", "cache", "frequency_penalty", "presence_penalty", "logprobs", "probabilities")
"""Settings of a single call that a request of ours has no place for."""

FINISH: dict[Literal["stop", "length", "refusal"], str] = {
    "stop": "stop",
    "length": "length",
    "refusal": "content_filter",
}


@dataclass
class Attempt:
    """One run of a program on one example.

    Args:
        rng: the random stream for a key, of which the seed of each call is drawn.
        read: what is wrong with a reply, counted; None where nothing is.

    Attributes:
        asked: how many calls have begun.
        ended: what ends the whole run, such as a budget that is used up, whatever the program makes of it.
        lost: the first call that got no answer.
        rejected: the last call that the provider refused for what stands in it.
        flawed: the last reply that was refused, cut or empty.
        stranger: an LM that the program called and that the run knows nothing of.
    """

    rng: Callable[..., np.random.Generator]
    read: Callable[[Reply], Failed | None]
    asked: int = 0
    ended: Exception | None = None
    lost: NoReply | None = None
    rejected: NoReply | None = None
    flawed: Failed | None = None
    stranger: str | None = None
    _seen: Counter[int] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def seed(self, request: Request) -> int:
        """Of a call: of what is asked, and of how often it was asked before, not of which thread came first."""
        said = "\0".join(f"{message.role}\0{message.text}" for message in request.messages)
        key = zlib.crc32(said.encode("utf-8", "surrogatepass"))
        with self._lock:
            self._seen[key] += 1
            times = self._seen[key]
        return int(self.rng(key, times).integers(2**31))

    def failed(self, error: Exception) -> None:
        """Take down why a call failed."""
        with self._lock:
            if isinstance(error, Unanswered):
                self.lost = self.lost or NoReply(True, str(error))
            elif isinstance(error, Rejected):
                self.rejected = NoReply(False, str(error))
            else:
                self.ended = self.ended or error

    def check(self) -> None:
        """Raise what ends the run, if anything did, though the program may have caught it.

        Raises:
            PromptoptError: the budget is used up, or the provider refuses whatever it is asked.
            UserError: the program called an LM that is not the run's.
        """
        if self.ended is not None:
            raise self.ended
        if self.stranger is not None:
            raise UserError(
                f"the program calls the LM {self.stranger} past its predictors, so the run cannot pay for it and write "
                "it down. Give that LM to the predictors (set_lm), or configure it with dspy.configure."
            )

    @property
    def missing(self) -> Missing | None:
        """Why what came of the attempt is not the prompt's doing; None where it is."""
        return None if self.lost is None else Missing(self.lost.reason("requests"))


class Engine:
    """Answers DSPy's requests with a chat model.

    Args:
        model: the chat model, billed.
        temperature: of calls for which neither the predictor nor the LM says one.
        like: the LM that is stood for, or None.
    """

    supports_function_calling = False
    supports_reasoning = False

    def __init__(self, model: ChatModel, *, temperature: float, like: Any) -> None:
        self._model = model
        self._temperature = temperature
        self._like = like

    @property
    def supports_response_schema(self) -> bool:
        """Whether requests may name a JSON schema for the reply: as the LM says, which may look far for it."""
        return bool(self._like is not None and self._like.supports_response_schema)

    @property
    def supported_params(self) -> frozenset[str]:
        """What adapters may put into a request."""
        schema = {"response_format"} if self.supports_response_schema else set()
        return frozenset({"temperature", "max_tokens", "stop", "seed"} | schema)

    def complete(self, request: Any) -> Any:
        """A ``dspy.lm15.Response``. What fails is raised, and taken down in the attempt."""
        dspy = require("dspy", extra="dspy")
        attempt: Attempt | None = dspy.settings.get(KEY)
        if attempt is None:
            return self._answer(request, None)
        if attempt.ended is not None:
            raise attempt.ended
        attempt.asked += 1
        try:
            return self._answer(request, attempt)
        except Exception as error:
            attempt.failed(error)
            raise

    def _answer(self, request: Any, attempt: Attempt | None) -> Any:
        dspy = require("dspy", extra="dspy")
        asked = read_request(request, temperature=self._temperature)
        if attempt is not None and asked.seed is None:
            asked = Request(**{**vars(asked), "seed": attempt.seed(asked)})
        with dspy.context(callbacks=[], **{KEY: None}):  # an LM of DSPy's below would be announced a second time
            done = self._model.complete(asked)
        reply = done.replies[0] if done.replies else Reply("")
        if attempt is not None and (flaw := attempt.read(reply)):
            attempt.flawed = flaw
        return _response(request, reply, done)


class AsyncEngine:
    """The same for programs that await their calls: each is made on a thread of its own."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def complete(self, request: Any) -> Any:
        """As :meth:`Engine.complete`."""
        return await asyncio.to_thread(self._engine.complete, request)


def billed_lm(model: ChatModel, *, like: Any, temperature: float) -> Any:
    """A ``dspy.LM`` whose calls a chat model answers; it neither caches nor retries.

    Args:
        like: the LM that it stands for, whose name and settings it shows to DSPy; or None.
        temperature: as of :class:`Engine`.
    """
    dspy = require("dspy", extra="dspy")
    engine = Engine(model, temperature=temperature, like=like)
    kept = {} if like is None else {key: like.kwargs.get(key) for key in ("temperature", "n", "num_generations")}
    settings = {key: value for key, value in kept.items() if value is not None}
    name = f"promptopt/{model.name}" if like is None else like.model
    return dspy.LM(name, engine=engine, async_engine=AsyncEngine(engine), cache=False, num_retries=0, **settings)


def within(attempt: Attempt, *, lm: Any, adapter: Any = None) -> Any:
    """A context of DSPy's in which a program runs as one attempt."""
    dspy = require("dspy", extra="dspy")
    watch = _watching(attempt)
    settings = {"lm": lm} if lm is not None else {}
    settings |= {"adapter": adapter} if adapter is not None else {}
    callbacks = [*(dspy.settings.get("callbacks") or []), watch]
    return dspy.context(
        **settings,
        **{KEY: attempt},
        callbacks=callbacks,
        trace=[],
        disable_history=True,
        send_stream=None,
    )


def _watching(attempt: Attempt) -> Any:
    """A callback that notices calls of LMs that are not ours. What a callback raises DSPy only logs."""
    made = _watch()()
    made.attempt = attempt
    return made


@cache
def _watch() -> Any:
    """The class of these callbacks, made once DSPy is there."""
    callback = require("dspy.utils.callback", extra="dspy").BaseCallback

    class Watch(callback):  # type: ignore[misc, valid-type]
        attempt: Attempt

        def on_lm_start(self, call_id: str, instance: Any, inputs: Any) -> None:
            if not isinstance(getattr(instance, "engine", None), Engine):
                self.attempt.stranger = str(getattr(instance, "model", type(instance).__name__))

    return Watch


# ── Requests and responses ────────────────────────────────────────────────────────────────────────────────────────


def read_request(request: Any, *, temperature: float) -> Request:
    """A ``dspy.lm15.Request`` as a request of ours.

    Raises:
        UserError: it holds tools, files or settings that ours has no place for.
    """
    config = request.config
    unsaid = [name for name in UNSAID if getattr(config, name, None) is not None]
    unsaid += sorted(config.extensions or {})
    if request.tools or unsaid:
        what = "tools of the provider's own" if request.tools else ", ".join(unsaid)
        raise UserError(
            f"a predictor of the program sends {what}, which a run cannot write down. Leave that out of the predictor; "
            "an LM's own settings and adapters without native function calling are fine."
        )
    system = [Message("system", _text(request.system))] if request.system else []
    return Request(
        [*system, *(_message(one) for one in request.messages)],
        temperature=temperature if config.temperature is None else config.temperature,
        seed=config.seed,
        schema=_schema(config.response_format),
        stop=config.stop,
        max_tokens=config.max_tokens,
    )


def _schema(wanted: Any) -> Any:
    """The JSON schema of a response format, or None."""
    if not isinstance(wanted, dict):
        return None
    inner = wanted.get("json_schema")
    return inner.get("schema", inner) if isinstance(inner, dict) else wanted.get("schema")


def _message(message: Any) -> Message:
    roles: dict[str, Literal["system", "user", "assistant"]]
    roles = {"user": "user", "assistant": "assistant", "developer": "system"}
    if message.role not in roles:
        raise UserError(f"a predictor of the program sends a message of the role {message.role!r}; only texts can be.")
    pictures = tuple(_picture(part) for part in message.parts if part.type == "image")
    return Message(roles[message.role], _text(message.parts), pictures)


def _text(parts: Any) -> str:
    if isinstance(parts, str):
        return parts
    if strange := [part.type for part in parts if part.type not in ("text", "image", "thinking")]:
        raise UserError(f"a predictor of the program sends {strange[0]}; texts and pictures can be sent.")
    return "".join(part.text for part in parts if part.type == "text")


def _picture(part: Any) -> Picture:
    if part.data is None and part.path is None:
        raise UserError(
            "a predictor of the program sends a picture by its address; load it (dspy.Image(url, download=True))."
        )
    return Picture(part.bytes, part.media_type)


def _response(request: Any, reply: Reply, done: Completion) -> Any:
    lm15 = require("dspy.lm15", extra="dspy")
    read, wrote = done.usage.input_tokens, done.usage.output_tokens
    return lm15.Response(
        id=None,
        model=request.model,
        message=lm15.Message.assistant([lm15.TextPart(reply.text)]),
        finish_reason=FINISH[reply.finish],
        usage=lm15.Usage(input_tokens=read, output_tokens=wrote, total_tokens=read + wrote),
    )
