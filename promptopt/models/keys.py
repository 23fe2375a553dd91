"""What makes two calls of chat models the same call."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

from ..core import Message, Request


def call_key(model: str, request: Request) -> str:
    """What makes two LLM calls the same call: the hash of the model's name and of everything asked."""
    turns = [[m.role, m.text, [hashlib.sha256(p.data).hexdigest() for p in m.pictures]] for m in request.messages]
    asked = [model, turns, request.n, request.temperature, request.seed, request.schema]
    if request.stop or request.max_tokens is not None:
        asked += [list(request.stop), request.max_tokens]
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:32]


def choice_key(model: str, messages: Sequence[Message], options: Sequence[str]) -> str:
    """What makes two calls for the likelihood of replies the same call."""
    return call_key(model, Request(messages, n=0, temperature=0.0, schema={"options": list(options)}))
