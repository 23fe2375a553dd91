"""What the programs here share: a job a line from standard input, an answer a line, and plain calls over HTTP."""

from __future__ import annotations

import json
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any


class Spent(Exception):
    """The budget of calls is spent, or the server refuses otherwise."""


def complete(url: str, model: str, messages: list[dict[str, str]], **more: Any) -> str:
    """One reply.

    Raises:
        Spent: the server refuses.
    """
    body = json.dumps({"model": model, "messages": messages, **more}).encode()
    asked = urllib.request.Request(f"{url}/chat/completions", body, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(asked) as answer:
            said: str = json.load(answer)["choices"][0]["message"]["content"]
            return said
    except urllib.error.HTTPError as error:
        raise Spent(error.read().decode()) from error


def serve(do: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Do the jobs, one after the other. What a package prints goes to standard error."""
    out, sys.stdout = sys.stdout, sys.stderr
    for line in sys.stdin:
        try:
            answer = do(json.loads(line))
        except Exception as error:
            answer = {"ended": f"{type(error).__name__}: {' '.join(str(error).split())[:80]}"}
        print("ANSWER " + json.dumps(answer), file=out, flush=True)
