"""A chat LLM as the proposer of hill-climb [Liu2024].

The LLM is shown good and bad prompts and writes better ones. The wording is ours.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from ...core import ChatModel, Message, Prompt, Reply, Setup
from ...errors import UnknownName, UserError
from . import Scored
from .parse import parse_prompts

__all__ = ["ChatProposer"]

STREAM = int.from_bytes(b"chat")
"""Key of the random stream, so that an optimizer's own draws are left alone."""

MAX_CONVERSATION = 24_000
"""Characters of earlier turns that are sent along; about 6,000 tokens, which small local models can still hold."""

MAX_QUOTED = 4_000
"""Characters of an unreadable reply that are sent back with the request for a list."""

AGAIN = 'I could not read that. Reply only with the list, one entry per line, each line starting with "- ".'
PLACEHOLDER_RULE = "In a template, {} stands for the name of a class. Keep {} exactly once in each, as it is."


class ChatProposer:
    """Asks a chat model for better prompts.

    A fresh message shows the two lists, best and worst first, without numbers, as in the paper. In a continued
    conversation the lists come with their scores, so that the model can compare turns; the paper appends them too. We
    differ from the paper in that the oldest turns are dropped when the conversation grows beyond 24,000 characters.

    A reply without a usable prompt is asked for once more, as a plain list, and then given up. Unparsable, empty,
    refused and truncated replies are counted. Of a truncated reply the last line is dropped.

    Args:
        model: writes the prompts; billed to the run as ``proposer``.
        conversation: ``fresh`` sends one message a call; ``continued`` goes on until the search resets it.
        temperature: of the model; 1 as in the released code.
        task: what the prompts are for, in the user's words; told to the model.

    Raises:
        UserError: the temperature is negative, or there is no such kind of conversation.
    """

    def __init__(
        self,
        *,
        model: ChatModel,
        conversation: Literal["fresh", "continued"] = "fresh",
        temperature: float = 1.0,
        task: str = "",
    ) -> None:
        if not (math.isfinite(temperature) and temperature >= 0):
            raise UserError(f"temperature is {temperature}; allowed is 0 or more.")
        if conversation not in ("fresh", "continued"):
            raise UnknownName("conversation", conversation, ["fresh", "continued"])
        self._model = model
        self._continued = conversation == "continued"
        self._temperature = temperature
        self._task = task.strip()
        self._turns: list[tuple[Message, Message]] = []

    def begin(self, setup: Setup, /) -> None:
        """Start afresh and bill the model to this run."""
        self._setup = setup
        self._rng = setup.rng(STREAM)
        self._billed = setup.model(self._model, role="proposer")
        self.reset()

    def reset(self) -> None:
        """Forget the conversation."""
        self._turns = []

    def propose(self, good: Sequence[Scored], bad: Sequence[Scored], /, *, n: int) -> list[str]:
        """At most ``n`` prompts that were not shown; one call to the model, or two.

        Raises:
            ModelError: the provider refused for good.
            BudgetExhausted: the next call would exceed the budget.
        """
        turn = Message("user", self._ask(good, bad, n=n))
        before = [message for pair in self._turns for message in pair]
        reply, prompts = self._converse([*before, turn])
        if not prompts:
            said = reply.text[:MAX_QUOTED]
            retort = [Message("assistant", said), Message("user", AGAIN)] if said.strip() else []
            reply, prompts = self._converse([*before, turn, *retort])
        if prompts and self._continued:
            self._remember(turn, Message("assistant", reply.text))
        shown = {scored.text for scored in (*good, *bad)}
        return [prompt for prompt in prompts if prompt not in shown][:n]

    # ── The conversation ──────────────────────────────────────────────────────────────────────────────────────────

    def _converse(self, messages: Sequence[Message]) -> tuple[Reply, list[str]]:
        """One call, and the prompts in its reply."""
        seed = int(self._rng.integers(2**31))
        completion = self._billed.complete(messages, n=1, temperature=self._temperature, seed=seed)
        reply = completion.replies[0] if completion.replies else Reply("")
        return reply, self._read(reply)

    def _read(self, reply: Reply) -> list[str]:
        if reply.finish == "refusal":
            self._setup.count("refused replies")
            return []
        text = reply.text
        if reply.finish == "length":
            self._setup.count("truncated replies")
            text = text.rpartition("\n")[0]
        prompts = parse_prompts(text, problem_with=lambda prompt: self._setup.problem_with(Prompt(prompt)))
        if not prompts:
            self._setup.count("unparsable replies" if reply.text.strip() else "empty replies")
        return prompts

    def _remember(self, turn: Message, reply: Message) -> None:
        self._turns.append((turn, reply))
        while self._turns and sum(len(m.text) for pair in self._turns for m in pair) > MAX_CONVERSATION:
            del self._turns[0]

    # ── The wording ───────────────────────────────────────────────────────────────────────────────────────────────

    def _ask(self, good: Sequence[Scored], bad: Sequence[Scored], *, n: int) -> str:
        kind = self._kind(good)
        parts = [
            f"What the {kind}s are for: {self._task}" if self._task else "",
            f"Your {kind}s have been tried too. This is how things stand now." if self._turns else "",
            _section(f"These {kind}s work well, the best one first:", good, scores=self._continued),
            _section(f"These {kind}s work badly, the worst one first:", bad, scores=self._continued),
            _wish(f"{n} new {kind}s" if n > 1 else f"one new {kind}", good, bad),
            PLACEHOLDER_RULE if kind == "template" else "",
            f'Answer only with a list: one {kind} per line, each line starting with "- ", without scores or remarks.',
        ]
        return "\n\n".join(filter(None, parts))

    def _kind(self, good: Sequence[Scored]) -> str:
        """What the prompts are called: templates have a placeholder."""
        texts = [scored.text for scored in good] or [prompt.text for prompt in self._setup.start]
        return "template" if any("{}" in text for text in texts) else "instruction"


def _wish(what: str, good: Sequence[Scored], bad: Sequence[Scored]) -> str:
    if not good:
        return f"Write {what}."
    lesson = "Keep what the good ones have in common and avoid" if bad else "Keep what they have in common"
    lesson += " what the bad ones share." if bad else "."
    return f"Write {what} that should work better than all of these. {lesson} Repeat none of them."


def _section(title: str, shown: Sequence[Scored], *, scores: bool) -> str:
    """A title and one bullet a prompt; further lines of a prompt are indented."""
    lines = [
        "- " + scored.text.replace("\n", "\n  ") + (f" (score {scored.value:.4g})" if scores else "")
        for scored in shown
    ]
    return "\n".join([title, *lines]) if lines else ""
