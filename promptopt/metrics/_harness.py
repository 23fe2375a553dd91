"""What runs inside the sandbox: a script of its own that imports nothing of promptopt.

It reads a job from standard input, puts itself under the job's limits, runs the code and then the tests one after
another in the code's module, and reports each of them to a file as a line of JSON ``[token, number, error or null]``.
Whatever lacks the token, which the code is not given, is no report.
"""

import json
import os
import resource
import sys
import traceback
import types

CODE, TEST = "<code>", "<test>"
LONGEST = 300  # characters of an error


def main() -> None:
    """Run the job; the file for the reports is open under the number in the first argument."""
    job, results = json.load(sys.stdin), int(sys.argv[1])
    token, code, tests = job["token"], job["code"], job["tests"]
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.set_inheritable(results, False)
    for name, limit in job["limits"].items():
        resource.setrlimit(getattr(resource, name), (limit, limit))
    sys.argv[:] = ["answer"]
    module = types.ModuleType("answer")
    sys.modules["answer"] = sys.modules["__main__"] = module
    me, getpid, write, dumps, leave, attempt = os.getpid(), os.getpid, os.write, json.dumps, os._exit, error_of

    failed = attempt(code, module.__dict__, CODE)
    for number, test in enumerate(tests):
        error = failed or attempt(test, module.__dict__, TEST)
        if getpid() != me:  # the code forked: only the first process reports
            leave(0)
        write(results, dumps([token, number, error]).encode() + b"\n")
    leave(0)


def error_of(source: str, names: dict[str, object], origin: str) -> str | None:
    """Run a piece of code; None if nothing was raised, not even an exit; else what, and in which line of the code."""
    try:
        exec(compile(source, origin, "exec"), names)
    except BaseException as error:
        lines = [line for frame, line in traceback.walk_tb(error.__traceback__) if frame.f_code.co_filename == CODE]
        if isinstance(error, SyntaxError) and error.filename == CODE:
            lines.append(error.lineno or 0)
        what = traceback.format_exception_only(type(error), error)[-1].strip()[:LONGEST]
        return f"line {lines[-1]}: {what}" if lines else what
    return None


if __name__ == "__main__":
    main()
