"""Code that is run against tests."""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ..checks import at_least
from ..core import Example, Mark
from ..errors import UserError
from .sandbox import Limits, check, run_tests
from .text import REASON, shown, text_of

_FENCED = re.compile(r"```[ \t]*([\w+-]*)[^\n`]*\n(.*?)(?:```|\Z)", re.DOTALL)
_NO_PYTHON = re.compile(r"line \d+: (Syntax|Indentation|Tab)Error")
_PYTHON = ("", "python", "python3", "py")


class Code:
    """The share of tests that the Python code in the output passes, in a sandbox (:mod:`promptopt.metrics.sandbox`).

    The code is the longest fenced block that is marked as Python or not marked at all; without one, the whole output.
    It runs once, then the tests one after another in the same process and namespace. A test passes when it runs to its
    end and raises nothing: an exit, a crash, too much memory or time fail it and those behind it that did not run. The
    feedback is the error of the first test that failed. An output that is no Python has failed, which is 0 as well.

    A list of texts is a test each. One text is parted after each ``assert`` at its top level: what stands before an
    assert belongs to its test, what stands behind the last one is a test too.

    Args:
        tests: the tests of every output; by default an example's label holds its own.
        seconds: wall time for an output, code and all its tests together.
        megabytes: address space of the process, in MiB.
        workers: so many outputs are run at once.

    Raises:
        UserError: a test is not Python, a limit is too small, or this is not Linux.
    """

    def __init__(
        self,
        *,
        tests: str | Sequence[str] | None = None,
        seconds: float = 5.0,
        megabytes: int = 512,
        workers: int = 2,
    ) -> None:
        at_least(1, workers=workers)
        self.tests = None if tests is None else split(tests, of="the metric's tests")
        self.limits, self.workers = Limits(seconds, megabytes), workers
        check()

    def __call__(self, outputs: Sequence[Any], examples: Sequence[Example], /) -> list[float | Mark | None]:
        """One mark per output; None where the output is None.

        Raises:
            UserError: an output is not text, or a label holds no tests.
        """
        jobs = [
            (
                None if output is None else code_in(text_of(output)),
                self.tests or split(example.label, of=f"the label of example {example.id!r}"),
            )
            for output, example in zip(outputs, examples, strict=True)
        ]
        with ThreadPoolExecutor(self.workers) as pool:
            return list(pool.map(lambda job: self._mark(*job), jobs))

    def _mark(self, code: str | None, tests: Sequence[str]) -> float | Mark | None:
        if code is None:
            return None
        errors = run_tests(code, tests, limits=self.limits)
        failed = [(test, error) for test, error in zip(tests, errors, strict=True) if error is not None]
        if not failed:
            return 1.0
        test, error = failed[0]
        if len(failed) == len(tests) and (wrong := _NO_PYTHON.match(error)):
            return Mark(0.0, f"no Python: {' '.join(wrong.string.split())}"[:REASON], failed=True)
        reason = (
            f"{len(failed)} of {len(tests)} tests failed; {shown(test.splitlines()[-1])}: {' '.join(error.split())}"
        )
        return Mark(1 - len(failed) / len(tests), reason if len(reason) <= REASON else reason[: REASON - 3] + "...")


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
    except (SyntaxError, ValueError) as error:
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
