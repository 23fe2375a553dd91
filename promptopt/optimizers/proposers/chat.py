"""A chat LLM as the proposer of hill-climb [Liu2024].

The LLM is shown good and bad prompts and writes better ones. The wording is ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from ...checks import at_least
from ...core import ChatModel, Message, Setup
from ...errors import UnknownName
from ...vocabulary import PLACEHOLDER_RULE, is_template
from . import Scored
from .asking import Asker

__all__ = ["ChatProposer"]

STREAM = int.from_bytes(b"chat")
"""Key of the random stream, so that an optimizer's own draws are left alone."""

MAX_CONVERSATION = 24_000
"""Characters of earlier turns that are sent along; about 6,000 tokens, which small local models can still hold."""

MAX_QUOTED = 4_000
"""Characters of an unreadable reply that are sent back with the request for a list."""

AGAIN = 'I could not read that. Reply only with the list, one entry per line, each line starting with "- ".'


class ChatProposer:
    """Asks a chat model for better prompts.

    A fresh message shows the two lists, best and worst first, without numbers, as in the paper. In a continued
    conversation the lists come with their scores, so that the model can compare turns; the paper appends them too. We
    differ from the paper in that the oldest turns are dropped when the conversation grows beyond 24,000 characters.

    A list is asked for in words and, where the provider takes one, with a JSON schema. A reply without a usable prompt
    is asked for once more, as a plain list, and then given up. Unparsable, empty, refused and truncated replies are
    counted. Of a truncated reply only whole entries of a list are read: a model that rambles until it is cut has not
    answered.

    ``random`` and ``wording = "released"`` follow the released code of [Liu2024]: a third list of templates drawn from
    all tried in this conversation, and the wish for one template that shares the good ones' traits, of similar
    structure, below 15 words, as one bullet. The words are ours in both.

    Args:
        model: writes the prompts; billed to the run as ``proposer``.
        conversation: ``fresh`` sends one message a call; ``continued`` goes on until the search resets it.
        temperature: of the model; 1 as in the released code.
        task: what the prompts are for, in the user's words; told to the model.
        random: how many prompts that are neither among the good nor the bad are shown besides; 0 for no such list.
        wording: what is asked for: ``free``, or the ``released`` traits.

    Raises:
        UserError: the temperature or ``random`` is negative, or there is no such conversation or wording.
    """

    def __init__(
        self,
        *,
        model: ChatModel,
        conversation: Literal["fresh", "continued"] = "fresh",
        temperature: float = 1.0,
        task: str = "",
        random: int = 0,
        wording: Literal["free", "released"] = "free",
    ) -> None:
        self._asker = Asker(model, temperature=temperature)
        at_least(0, random=random)
        if conversation not in ("fresh", "continued"):
            raise UnknownName("conversation", conversation, ["fresh", "continued"])
        if wording not in ("free", "released"):
            raise UnknownName("wording", wording, ["free", "released"])
        self._continued = conversation == "continued"
        self._task = task.strip()
        self._random = random
        self._wish = _released_wish if wording == "released" else _wish
        self._turns: list[tuple[Message, Message]] = []

    def begin(self, setup: Setup, /) -> None:
        """Start afresh and bill the model to this run."""
        self._setup = setup
        self._rng = setup.rng(STREAM)
        self._asker.begin(setup)
        self.reset()

    def reset(self) -> None:
        """Forget the conversation."""
        self._turns = []
        self._seen: Sequence[Scored] = ()

    def look(self, seen: Sequence[Scored], /) -> None:
        """Take what ``random`` is drawn from."""
        self._seen = seen

    def propose(self, good: Sequence[Scored], bad: Sequence[Scored], /, *, n: int) -> list[str]:
        """At most ``n`` prompts that were not shown; one call to the model, or two.

        Raises:
            ModelError: the provider refused for good.
            BudgetExhausted: the next call would exceed the budget.
        """
        others = self._others([*good, *bad])
        turn = Message("user", self._ask(good, bad, others, n=n))
        before = [message for pair in self._turns for message in pair]
        reply, prompts = self._asker.prompts([*before, turn], self._rng)
        if not prompts:
            said = reply.text[:MAX_QUOTED]
            retort = [Message("assistant", said), Message("user", AGAIN)] if said.strip() else []
            reply, prompts = self._asker.prompts([*before, turn, *retort], self._rng)
        if prompts and self._continued:
            self._remember(turn, Message("assistant", reply.text))
        shown = {scored.text for scored in (*good, *bad, *others)}
        return [prompt for prompt in prompts if prompt not in shown][:n]

    def _others(self, shown: Sequence[Scored]) -> list[Scored]:
        """Prompts of this conversation that are not shown yet, at random."""
        others = [one for one in self._seen if one not in shown]
        drawn = self._rng.permutation(len(others))[: self._random] if self._random else ()
        return [others[i] for i in drawn]

    # ── The conversation ──────────────────────────────────────────────────────────────────────────────────────────

    def _remember(self, turn: Message, reply: Message) -> None:
        self._turns.append((turn, reply))
        while self._turns and sum(len(m.text) for pair in self._turns for m in pair) > MAX_CONVERSATION:
            del self._turns[0]

    # ── The wording ───────────────────────────────────────────────────────────────────────────────────────────────

    def _ask(self, good: Sequence[Scored], bad: Sequence[Scored], others: Sequence[Scored], *, n: int) -> str:
        kind = self._kind(good)
        parts = [
            f"What the {kind}s are for: {self._task}" if self._task else "",
            f"Your {kind}s have been tried too. This is how things stand now." if self._turns else "",
            _section(f"These {kind}s work well, the best one first:", good, scores=self._continued),
            _section(f"These {kind}s work badly, the worst one first:", bad, scores=self._continued),
            _section(f"These {kind}s have been tried too, in no order:", others, scores=self._continued),
            self._wish(f"{n} new {kind}s" if n > 1 else f"one new {kind}", good, bad),
            PLACEHOLDER_RULE if kind == "template" else "",
            f'Answer only with a list: one {kind} per line, each line starting with "- ", without scores or remarks.',
        ]
        return "\n\n".join(filter(None, parts))

    def _kind(self, good: Sequence[Scored]) -> str:
        """What the prompts are called: templates have a placeholder."""
        return "template" if is_template(self._setup) else "instruction"


def _wish(what: str, good: Sequence[Scored], bad: Sequence[Scored]) -> str:
    if not good:
        return f"Write {what}."
    lesson = "Keep what the good ones have in common and avoid" if bad else "Keep what they have in common"
    lesson += " what the bad ones share." if bad else "."
    return f"Write {what} that should work better than all of these. {lesson} Repeat none of them."


def _released_wish(what: str, good: Sequence[Scored], bad: Sequence[Scored]) -> str:
    """The traits that the released code asks for, in our words."""
    if not good:
        return _wish(what, good, bad)
    kind = what.removeprefix("one new ")
    lesson = "The ones that work well share characteristics" + (" that the others lack." if bad else ".")
    form = "one bullet" if what != kind else "one bullet each"
    return (
        f"{lesson} Find out which, and write {what} with the same characteristics, of a structure similar to the good "
        f"ones, in fewer than 15 words, as {form}."
    )


def _section(title: str, shown: Sequence[Scored], *, scores: bool) -> str:
    """A title and one bullet a prompt; further lines of a prompt are indented."""
    lines = [
        "- " + scored.text.replace("\n", "\n  ") + (f" (score {scored.value:.4g})" if scores else "")
        for scored in shown
    ]
    return "\n".join([title, *lines]) if lines else ""
