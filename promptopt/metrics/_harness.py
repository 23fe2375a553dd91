"""What runs inside the sandbox: a script of its own that imports nothing of promptopt.

It reads a job from standard input, puts itself under the job's limits, runs the code and then the tests one after
another in the code's module, and reports each of them to a file as a line of JSON ``[token, number, error or null]``.
Whatever lacks the token, which the code is not given, is no report.
"""

import ctypes
import json
import os
import resource
import struct
import sys
import traceback
import types

CODE, TEST = "<code>", "<test>"
LONGEST = 300  # characters of an error

# Landlock, from linux/landlock.h and linux/prctl.h
CREATE_RULESET, ADD_RULE, RESTRICT_SELF, PATH_BENEATH, NO_NEW_PRIVILEGES = 444, 445, 446, 1, 38
WRITE_FILE = 1 << 1
CHANGES = WRITE_FILE | sum(1 << bit for bit in range(4, 13))  # and remove or make entries of any kind
REFER, TRUNCATE = 1 << 13, 1 << 14  # from versions 2 and 3 on
TCP, SCOPES = 0b11, 0b11  # bind and connect, version 4; signals and abstract sockets, version 6


def main() -> None:
    """Run the job; the file for the reports is open under the number in the first argument."""
    job, results = json.load(sys.stdin), int(sys.argv[1])
    token, code, tests = job["token"], job["code"], job["tests"]
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.set_inheritable(results, False)
    if job["landlock"]:
        confine(os.getcwd(), job["landlock"])
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


def confine(folder: str, version: int) -> None:
    """Let this process and its children change files in one folder only, and not touch processes outside.

    Args:
        folder: where files may be made, written and removed.
        version: of Landlock, at least 1; what a version does not know stays allowed.

    Raises:
        OSError: the kernel refuses.
    """
    changes = CHANGES | (REFER if version >= 2 else 0) | (TRUNCATE if version >= 3 else 0)
    handled = struct.pack("=QQQ", changes, TCP if version >= 4 else 0, SCOPES if version >= 6 else 0)
    rules = _call(CREATE_RULESET, handled, ctypes.c_size_t(len(handled)), 0)
    for path, allowed in ((folder, changes), (os.devnull, WRITE_FILE)):
        place = os.open(path, os.O_PATH)
        _call(ADD_RULE, rules, PATH_BENEATH, struct.pack("=Qi", allowed, place), 0)
        os.close(place)
    if ctypes.CDLL(None).prctl(NO_NEW_PRIVILEGES, *map(ctypes.c_ulong, (1, 0, 0, 0))):
        raise OSError("the process cannot give up new privileges")
    _call(RESTRICT_SELF, rules, 0)
    os.close(rules)


def _call(number: int, *arguments: object) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    result: int = libc.syscall(ctypes.c_long(number), *arguments)
    if result < 0:
        raise OSError(ctypes.get_errno(), f"system call {number} failed")
    return result


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
