"""Any HTTP endpoint as the target, described in the recipe."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from typing import Any, Literal
from urllib.parse import quote

from ...checks import above_zero, at_least
from ...core import ChatModel, Example, Failed, Message, Missing, Prompt, Reply, Request, Setup
from ...credentials import check_no_key
from ...errors import UserError
from ...fanout import fan_out
from ...replies import NoReply, reply_to
from ..placeholders import fill, names, values
from ..replies import no_output
from .endpoint import REMEDY, VARIABLE, Endpoint

UNREADABLE, EMPTY = "no output in the answer", "empty"


class Http:
    """Sends each example with the prompt to an endpoint and takes the output from its answer.

    In the texts of ``body``, and percent-encoded in ``url``, ``{prompt}`` and ``{input}`` are replaced, and ``{name}``
    by a field of an input that is a dict. A header may hold ``${NAME}``: the environment variable is read when a
    request is sent, and neither recorded nor shown. In a recipe it must be one that the user allows
    (:mod:`promptopt.trust`).

    Every example is a call of the run's budget, recorded in its ledger, and not sent again when the run resumes. An
    answer without the output is :class:`promptopt.core.Failed`, and counted; if all answers to the first prompt are,
    the run ends, since ``output`` is wrong then. Failed is also what the server refuses for what was sent (400, 413,
    414, 422), with its words. Other refusals, such as for a wrong key, end the run. Where a transient error outlasts
    the retries the output is :class:`promptopt.core.Missing`, unscored; ten such errors in a row end the run, which can
    be resumed.

    Args:
        url: where to send the request, http or https.
        body: the request's JSON; without it nothing is sent but the address.
        output: where the output stands in the answer's JSON: a dotted path such as ``choices.0.message.content`` or a
            JSON pointer such as ``/choices/0``. Without it the output is the whole answer as text.
        method: of the request.
        headers: of the request, by name.
        timeout: seconds for one attempt, to the last byte. All attempts of a call together have five times as many,
            five minutes at least.
        retries: further attempts after a transient error (408, 409, 429, 5xx, a lost connection, a time-out). The wait
            is what ``retry-after`` says, up to 120 s, or else 0.5 s, doubled each time up to 8 s.
        workers: requests at a time.
        price: US dollars a request, counted against the budget, refused ones too; what an answer says of its cost is
            not read.

    Raises:
        UserError: an argument is out of range, the prompt is never sent, or a key stands in the url, the body or the
            headers.
    """

    metric = "match"

    @staticmethod
    def variables_in(options: Mapping[str, Any], /) -> set[str]:
        """The environment variables that a table's headers name."""
        headers = options.get("headers")
        values = headers.values() if isinstance(headers, Mapping) else ()
        return {name for value in values if isinstance(value, str) for name in VARIABLE.findall(value)}

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
        price: float = 0.0,
    ) -> None:
        above_zero(timeout=timeout)
        at_least(0, retries=retries, price=price)
        at_least(1, workers=workers)
        if "prompt" not in names(url) | names(json.dumps(body)):
            raise UserError("the prompt is never sent; write {prompt} where it goes in body or url.")
        check_no_key("body", body, remedy=REMEDY)
        self._url, self._body, self._workers = url, body, workers
        self._endpoint = Endpoint(
            url=url,
            method=method,
            headers=headers or {},
            output=output,
            timeout=timeout,
            retries=retries,
            price=price,
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
            ModelError: the server refuses whatever it is sent, or is out of reach.
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

    def _ask(self, prompt: Prompt, example: Example) -> Reply | Failed | Missing:
        """What came back."""
        known = values(example, prompt=prompt.text)
        url = fill(self._url, {name: quote(text, safe="", errors="replace") for name, text in known.items()})
        sent = Message("user", json.dumps([url, _filled(self._body, known)]))
        said = reply_to(lambda: self._billed.complete(Request([sent], temperature=0.0)).replies[0])
        return no_output(said) if isinstance(said, NoReply) else said

    def _read(self, replies: Sequence[Reply | Failed | Missing]) -> list[Any]:
        """The outputs of one prompt."""
        outputs = [self._output(reply) if isinstance(reply, Reply) else reply for reply in replies]
        amiss = Counter(one.reason.partition(":")[0] for one in outputs if isinstance(one, Failed | Missing))
        if amiss[UNREADABLE] and amiss.total() == len(replies) and not self._understood:
            raise UserError(f"no answer of {self._endpoint.name} holds the output: {self._endpoint.problem}")
        self._understood = self._understood or amiss.total() < len(replies)
        counts = {UNREADABLE: "unreadable replies", EMPTY: "empty replies"}
        for what, n in amiss.items():
            self._setup.count(counts.get(what, what), n)
        return outputs

    def _output(self, reply: Reply) -> Any:
        if reply.finish == "refusal":
            status, _, said = reply.text.partition(" ")
            return Failed(f"HTTP {status}: {said}")
        if not reply.text:
            return Failed(UNREADABLE)
        output = _loaded(reply.text)
        return Failed(EMPTY) if isinstance(output, str) and not output.strip() else output


def _loaded(text: str) -> Any:
    """The output that a reply holds; in an estimate a reply is made up, and no JSON."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def _filled(value: Any, known: Mapping[str, str]) -> Any:
    """A JSON structure with the placeholders in its texts replaced; names are left alone."""
    if isinstance(value, str):
        return fill(value, known)
    if isinstance(value, Mapping):
        return {name: _filled(inside, known) for name, inside in value.items()}
    if isinstance(value, Sequence):
        return [_filled(inside, known) for inside in value]
    return value
