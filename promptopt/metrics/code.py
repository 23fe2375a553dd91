"""Code that is run against tests."""

from __future__ import annotations

import ast
import builtins
import math
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ..checks import at_least, check_argument
from ..core import Example, Mark
from ..errors import UserError
from .sandbox import Ending, Limits, Sandbox, check, run_tests
from .text import REASON, no_text, shown, text_of

_FENCED = re.compile(r"```[ \t]*([\w+-]*)[^\n`]*\n(.*?)(?:```|\Z)", re.DOTALL)
_NO_PYTHON = re.compile(r"line \d+: (Syntax|Indentation|Tab)Error")
_RAISED = re.compile(r"(?:line (\d{1,6}): )?(\w{1,40})")  # at the beginning of an error
_ERRORS = {name for name, one in vars(builtins).items() if isinstance(one, type) and issubclass(one, BaseException)}
_PYTHON = ("", "python", "python3", "py")


class Code:
    """The share of tests that the Python code in the output passes, in a sandbox (:mod:`promptopt.metrics.sandbox`).

    The code is the longest fenced block that is marked as Python or not marked at all; without one, the whole output.
    It runs once, then the tests one after another in the same process and namespace. A test passes when it runs to its
    end and raises nothing: an exit, a crash, too much memory or time fail it and those behind it that did not run. The
    feedback names the first test that failed, with kind and line of its error. What the error says is left out: it may
    be what the code read, and feedback is recorded and shown to LLMs that propose prompts. An output that is no Python
    has failed, which is 0 as well. Where the sandbox itself cannot start, the output is unscored.

    A list of texts is a test each. One text is parted after each ``assert`` at its top level: what stands before an
    assert belongs to its test, what stands behind the last one is a test too.

    Args:
        tests: the tests of every output; by default an example's label holds its own.
        seconds: wall time for an output, code and all its tests together.
        megabytes: address space of the process, in MiB.
        workers: so many outputs are run at once.
        sandbox: ``required`` refuses to run anything without bubblewrap, ``auto`` takes what there is.
        messages: feedback quotes what errors say.

    Raises:
        UserError: a test is not Python, a limit is too small, the sandbox that is required is not to be had, or this is
            not Linux.
    """

    time_limit = math.inf  # it keeps to its own

    def __init__(
        self,
        *,
        tests: str | Sequence[str] | None = None,
        seconds: float = 5.0,
        megabytes: int = 512,
        workers: int = 2,
        sandbox: Sandbox = "auto",
        messages: bool = False,
    ) -> None:
        at_least(1, workers=workers)
        self.tests = None if tests is None else split(tests, of="the metric's tests")
        self.limits, self.workers, self.messages = Limits(seconds, megabytes), workers, messages
        check_argument("sandbox", sandbox, allowed="'auto' or 'required'", holds=sandbox in ("auto", "required"))
        check(sandbox)

    def __call__(self, outputs: Sequence[Any], examples: Sequence[Example], /) -> list[float | Mark | None]:
        """One mark per output; None where the output is None.

        Raises:
            UserError: an output is not text, or a label holds no tests.
        """
        jobs = [
            (output, self.tests or split(example.label, of=f"the label of example {example.id!r}"))
            for output, example in zip(outputs, examples, strict=True)
        ]
        with ThreadPoolExecutor(self.workers) as pool:
            return list(pool.map(lambda job: self._mark(*job), jobs))

    def _mark(self, output: Any, tests: Sequence[str]) -> float | Mark | None:
        if output is None or (unread := no_text(output)):
            return None if output is None else unread
        code = code_in(text_of(output))
        try:
            errors = run_tests(code, tests, limits=self.limits)
        except OSError as trouble:
            return Mark(None, f"the sandbox did not start: {trouble.strerror}"[:REASON])
        failed = [(test, error) for test, error in zip(tests, errors, strict=True) if error is not None]
        if not failed:
            return 1.0
        test, error = failed[0]
        told = " ".join(error.split()) if self.messages or isinstance(error, Ending) else kind_of(error, code)
        if len(failed) == len(tests) and _NO_PYTHON.match(error):
            return Mark(0.0, f"no Python: {told}"[:REASON], failed=True)
        reason = f"{len(failed)} of {len(tests)} tests failed; {shown(test.splitlines()[-1])}: {told}"
        return Mark(1 - len(failed) / len(tests), reason if len(reason) <= REASON else reason[: REASON - 3] + "...")


def kind_of(error: str, code: str) -> str:
    """What of an error the code cannot have chosen: the name, if it is one of Python's, and the line in the code.

    The code runs beside the tests and can write any error, and give its own any name.
    """
    line, name = found.groups() if (found := _RAISED.match(error)) else (None, "")
    named = name if name in _ERRORS else "an error of another kind"
    return f"line {line}: {named}" if line and int(line) <= code.count("\n") + 1 else named


def code_in(reply: str) -> str:
    """The Python code that a reply holds."""
    blocks = [text for language, text in _FENCED.findall(reply) if language.lower() in _PYTHON]
    return max(blocks, key=len, default=reply)


def split(tests: Any, *, of: str) -> list[str]:
    """Tests as a list, each of them Python.

    Args:
        tests: one text, to be parted after each assert, or a list of texts.
        of: where they stand, for errors.

    Raises:
        UserError: there are none, or they are not Python.
    """
    listed = [tests] if isinstance(tests, str) else tests
    if not isinstance(listed, list | tuple) or not all(isinstance(test, str) and test.strip() for test in listed):
        raise UserError(f"tests must be Python in a text or a list of texts, but {of} is {tests!r}.")
    try:
        parsed = [ast.parse(test).body for test in listed]
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise UserError(f"{of}: {error}. Tests must be Python, such as: assert double(2) == 4") from None
    groups = _parted(parsed[0]) if isinstance(tests, str) else parsed
    if not groups or not all(groups):
        raise UserError(f"{of}: there is no test; give Python such as: assert double(2) == 4")
    return [ast.unparse(ast.Module(group, type_ignores=[])) for group in groups]


def _parted(statements: Sequence[ast.stmt]) -> list[list[ast.stmt]]:
    """A new group after each assert."""
    groups: list[list[ast.stmt]] = [[]]
    for statement in statements:
        groups[-1].append(statement)
        if isinstance(statement, ast.Assert):
            groups.append([])
    return [group for group in groups if group]
