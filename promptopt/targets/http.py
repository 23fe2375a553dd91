"""Any HTTP endpoint as the target, described in the recipe."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from typing import Any, Literal
from urllib.parse import quote

from ..core import ChatModel, Example, Message, Prompt, Setup
from ..errors import UserError
from ..fanout import fan_out
from .endpoint import Endpoint
from .placeholders import fill, names, values


class Http:
    """Sends each example with the prompt to an endpoint and takes the output from its answer.

    In the texts of ``body``, and percent-encoded in ``url``, ``{prompt}`` and ``{input}`` are replaced, and ``{name}``
    by a field of an input that is a dict. A header may hold ``${NAME}``: the environment variable is read when a
    request is sent, and neither recorded nor shown.

    Every example is a call of the run's budget, recorded in its ledger, and not sent again when the run resumes. An
    answer without the output is None, so it stays unscored, and counted; if all answers to the first prompt are, the
    run ends, since ``output`` is wrong then.

    Args:
        url: where to send the request, http or https.
        body: the request's JSON; without it nothing is sent but the address.
        output: where the output stands in the answer's JSON: a dotted path such as ``choices.0.message.content`` or a
            JSON pointer such as ``/choices/0``. Without it the output is the whole answer as text.
        method: of the request.
        headers: of the request, by name.
        timeout: seconds to wait for the server in one attempt.
        retries: further attempts after a transient error (408, 429, 5xx, a lost connection, a time-out). The wait is
            what ``retry-after`` says, up to 60 s, or else 0.5 s, doubled each time.
        workers: requests at a time.

    Raises:
        UserError: an argument is out of range, the prompt is never sent, or a key stands in the url or the headers.
    """

    metric = "match"

    def __init__(
        self,
        *,
        url: str,
        body: Mapping[str, Any] | Sequence[Any] | None = None,
        output: str | None = None,
        method: Literal["GET", "POST", "PUT", "PATCH"] = "POST",
        headers: Mapping[str, str] | None = None,
        timeout: float = 60.0,
        retries: int = 4,
        workers: int = 8,
    ) -> None:
        for name, value, allowed, holds in (
            ("timeout", timeout, "more than 0 seconds", math.isfinite(timeout) and timeout > 0),
            ("retries", retries, "0 or more", retries >= 0),
            ("workers", workers, "1 or more", workers >= 1),
        ):
            if not holds:
                raise UserError(f"{name} is {value}; allowed is {allowed}.")
        if "prompt" not in names(url) | names(json.dumps(body)):
            raise UserError("the prompt is never sent; write {prompt} where it goes in body or url.")
        self._url, self._body, self._workers = url, body, workers
        self._endpoint = Endpoint(
            url=url, method=method, headers=headers or {}, output=output, timeout=timeout, retries=retries
        )
        self._billed: ChatModel = self._endpoint
        self._understood = False

    def begin(self, setup: Setup, /) -> None:
        """Bill the calls to the run."""
        self._setup = setup
        self._billed = setup.model(self._endpoint, role="target")

    def problem_with(self, prompt: Prompt, /) -> str | None:
        """None: what a prompt may be, only the endpoint knows."""
        return None

    def run(self, prompt: Prompt, examples: Sequence[Example], /) -> list[Any]:
        """One output per example, in order: a text, or whatever JSON value stands at ``output``.

        Raises:
            BudgetExhausted: the next call would exceed the budget.
            ModelError: the server refused for good, or a transient error outlasted the retries.
            UserError: an environment variable is not set, an input is no text, or no answer holds the output.
        """
        (outputs,) = self.run_batch([prompt], examples)
        return outputs

    def run_batch(self, prompts: Sequence[Prompt], examples: Sequence[Example], /) -> Iterator[list[Any]]:
        """What ``run`` returns, prompt by prompt, each as soon as it is complete; all calls are made side by side.

        Raises:
            BudgetExhausted, ModelError, UserError: as ``run``.
        """
        jobs = [(prompt, example) for prompt in prompts for example in examples]
        calls = fan_out(lambda job: self._ask(*job), jobs, workers=self._workers)
        with self._endpoint.open(), closing(calls) as replies:
            for _ in prompts:
                yield self._read([next(replies) for _ in examples])

    def _ask(self, prompt: Prompt, example: Example) -> str:
        """The output as JSON, or nothing where there is none."""
        known = values(example, prompt=prompt.text)
        url = fill(self._url, {name: quote(text, safe="", errors="replace") for name, text in known.items()})
        request = Message("user", json.dumps([url, _filled(self._body, known)]))
        return self._billed.complete([request], temperature=0.0).replies[0].text

    def _read(self, replies: Sequence[str]) -> list[Any]:
        outputs = [json.loads(reply) if reply else None for reply in replies]
        if replies and not any(replies) and not self._understood:
            raise UserError(f"no answer of {self._endpoint.name} holds the output: {self._endpoint.problem}")
        self._understood = self._understood or any(replies)
        empty = [isinstance(output, str) and not output.strip() for output in outputs]
        for what, n in (("unreadable replies", replies.count("")), ("empty replies", sum(empty))):
            if n:
                self._setup.count(what, n)
        return [None if blank else output for output, blank in zip(outputs, empty, strict=True)]


def _filled(value: Any, known: Mapping[str, str]) -> Any:
    """A JSON structure with the placeholders in its texts replaced; names are left alone."""
    if isinstance(value, str):
        return fill(value, known)
    if isinstance(value, Mapping):
        return {name: _filled(inside, known) for name, inside in value.items()}
    if isinstance(value, Sequence):
        return [_filled(inside, known) for inside in value]
    return value
