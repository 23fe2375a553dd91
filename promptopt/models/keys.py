"""What makes two calls of chat models the same call."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from ..core import Message


def call_key(
    model: str,
    messages: Sequence[Message],
    *,
    n: int,
    temperature: float,
    seed: int | None,
    schema: Mapping[str, Any] | None,
) -> str:
    """What makes two LLM calls the same call: the hash of the model's name and of everything asked."""
    turns = [[m.role, m.text, [hashlib.sha256(p.data).hexdigest() for p in m.pictures]] for m in messages]
    asked = json.dumps([model, turns, n, temperature, seed, schema], sort_keys=True)
    return hashlib.sha256(asked.encode()).hexdigest()[:32]


def choice_key(model: str, messages: Sequence[Message], options: Sequence[str]) -> str:
    """What makes two calls for the likelihood of replies the same call."""
    return call_key(model, messages, n=0, temperature=0.0, seed=None, schema={"options": list(options)})
