"""Who proposes: SmolLM2 itself, and a script that knows what a good instruction is made of."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from problems import Task

from promptopt.core import Completion, Message, Reply, Request, Usage

LONGEST = 2_400  # characters of a conversation that SmolLM2 is shown: beginning and end of a longer one
WORDS = 48  # tokens of a reply


class Writer:
    """A chat model each of whose replies is a call; what it was asked before is not computed again.

    Args:
        model: writes the replies.
        file: of what it wrote; None for none that lasts.
    """

    def __init__(self, model: Any, file: Path | None = None) -> None:
        self.model, self.file = model, file
        self.name = model.name
        self.known: dict[str, list[Reply]] = {}
        self.calls = self.computed = 0
        for line in file.read_text(encoding="utf-8").splitlines() if file and file.exists() else []:
            key, replies = json.loads(line)
            self.known[key] = [Reply(text, finish) for text, finish in replies]

    def complete(self, request: Request, /) -> Completion:
        """So many replies as are asked for."""
        asked = [request.n, request.temperature, request.seed, [(one.role, one.text) for one in request.messages]]
        key = hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:24]
        if key not in self.known:
            self.known[key] = list(self.model.complete(request).replies)
            self.computed += request.n
            if self.file:
                with self.file.open("a", encoding="utf-8") as kept:
                    kept.write(json.dumps([key, [(one.text, one.finish) for one in self.known[key]]]) + "\n")
        self.calls += request.n
        return Completion(tuple(self.known[key]), self.at_most(request))

    def at_most(self, request: Request, /) -> Usage:
        """A call a reply."""
        return Usage(request.n)


class Small:
    """SmolLM2, which writes short replies: an instruction is a line or two."""

    name = "smollm2"

    def __init__(self) -> None:
        from promptopt.models.local import Local

        self._model = Local(model="smollm2", max_tokens=WORDS)

    def complete(self, request: Request, /) -> Completion:
        """The replies; of a long message the beginning and the end are read."""
        half = LONGEST // 2 // max(1, len(request.messages))
        messages = [
            Message(one.role, one.text if len(one.text) <= 2 * half else f"{one.text[:half]}\n…\n{one.text[-half:]}")
            for one in request.messages
        ]
        return self._model.complete(
            Request(messages, n=request.n, temperature=request.temperature, seed=request.seed, stop=request.stop)
        )


# ── The script ────────────────────────────────────────────────────────────────────────────────────────────────────


class Scripted:
    """Writes what a good proposer would: a change of a prompt that it is shown, in the form that is asked for.

    Every other time it takes another instruction, any one. Else it learns from what it is shown: where there are cases,
    it writes what it knows to help with one of the labels among them, and where there are none, any sentence.
    """

    name = "scripted"

    def __init__(self, task: Task) -> None:
        self.task = task
        sentences = [*(one for rules in task.rules.values() for one in rules), *task.others]
        self.pieces = sentences if task.most else task.bases
        known = sorted({task.start, *task.bases, *self.pieces}, key=len, reverse=True)
        one = "|".join(map(re.escape, known))
        self.prompts = re.compile(rf"(?:{one})(?: (?:{one}))*")
        self.piece = re.compile(one)

    def complete(self, request: Request, /) -> Completion:
        """Replies to the last message."""
        rng = np.random.default_rng([request.seed or 0, len(request.messages)])
        text = request.messages[-1].text
        return Completion(tuple(Reply(self.reply(text, rng)) for _ in range(request.n)), Usage(request.n))

    def reply(self, text: str, rng: np.random.Generator) -> str:
        """In the form that the message asks for."""
        if fields := re.search(r"starting with the field .*?\[\[ ## (\w+) ## \]\](.*)completed", text, re.DOTALL):
            return self.as_fields([fields[1], *re.findall(r"\[\[ ## (\w+) ## \]\]", fields[2])], text, rng)
        if "one reason why" in text or "different reasons why" in text:
            return f"- It does not say what to do where {self.lesson(text, rng)}"
        if "- step " in text:
            return f"- step {rng.integers(1, 3)}: {self.lesson(text, rng)}"
        if "as a list of steps" in text:
            return "\n".join(f"- {self.lesson(text, rng)}" for _ in range(2))
        new = [self.changed(text, rng) for _ in range(self.wanted(text))]
        if 'starting with "- "' in text:
            return "\n".join(f"- {one}" for one in new)
        if "<prompt>" in text:
            return f"<prompt>{new[0]}</prompt>"
        return f"```\n{new[0]}\n```" if "```" in text else new[0]

    def as_fields(self, names: Sequence[str], text: str, rng: np.random.Generator) -> str:
        """As DSPy's adapter reads it."""
        said = {name: self.changed(text, rng) if "instruction" in name else "The answer is:" for name in names}
        return "\n\n".join([f"[[ ## {name} ## ]]\n{what}" for name, what in said.items()] + ["[[ ## completed ## ]]"])

    def wanted(self, text: str) -> int:
        """How many prompts the message asks for."""
        number = re.search(r"\bWrite (\d+) (?:new |improved )?(?:instruction|prompt)", text)
        return min(10, int(number[1])) if number else 1

    def lesson(self, text: str, rng: np.random.Generator) -> str:
        """A rule for a label that is shown, or any sentence where none is."""
        lines = {line.strip() for line in text.splitlines()}
        said = set(re.findall(r"answer is '([^']+)'", text))
        shown = [label for label in self.task.rules if label in lines | said]
        cases = "" in self.task.rules and re.search("[Rr]ight answer|correct answer", text)
        labels = shown or ([""] if cases else [])
        if labels:
            return str(rng.choice(self.task.rules[str(rng.choice(labels))]))
        return str(rng.choice(self.pieces))

    def changed(self, text: str, rng: np.random.Generator) -> str:
        """A prompt of the message, changed; the start where none is shown."""
        shown = list(dict.fromkeys(match[0] for match in self.prompts.finditer(text)))
        first, *rest = self.piece.findall(str(rng.choice(shown)) if shown else self.task.start)
        if rng.random() < 0.5:
            return " ".join([str(rng.choice(self.task.bases)), *rest])
        more = self.lesson(text, rng)
        if not self.task.most:
            return more
        kept = [one for one in rest if one != more]
        return " ".join([first, *kept[max(0, len(kept) - self.task.most + 1) :], more])
