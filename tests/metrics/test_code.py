"""Code against tests in the sandbox. Nothing is mocked: every case runs in a real process."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import venv
import warnings
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from promptopt.core import Example, Mark
from promptopt.errors import UserError
from promptopt.metrics import sandbox
from promptopt.metrics.code import Code, code_in, split
from promptopt.metrics.sandbox import Limits, run_tests
from promptopt.recipe.build import call

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="the sandbox needs Linux"),
    pytest.mark.filterwarnings("ignore:code under test runs without:RuntimeWarning"),
]
DOUBLE = "def double(x):\n    return 2 * x\n"
TESTS = ["assert double(1) == 2", "assert double(5) == 10"]
LEVELS = ("bubblewrap", "namespaces", "neither")


@pytest.fixture
def level(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """One of the ways to confine the code, where this machine has it."""
    chosen: str = request.param
    if chosen != "neither" and not getattr(sandbox, chosen)():
        pytest.skip(f"{chosen}: not here, or not allowed")
    for better in LEVELS[: LEVELS.index(chosen)]:
        monkeypatch.setattr(sandbox, better, lambda: "")
    return chosen


def at(*levels: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("level", levels, indirect=True)


def mark(output: Any, label: Any = TESTS, **options: Any) -> Any:
    return Code(**{"seconds": 20.0, **options})([output], [Example("e", None, label)])[0]


def errors(code: str, *tests: str, seconds: float = 20, megabytes: int = 512) -> list[str | None]:
    return run_tests(code, tests or TESTS, limits=Limits(seconds, megabytes))


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where the sandbox makes its folders, which are the homes of its processes."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    yield tmp_path
    subprocess.run(["rm", "-rf", "--", *map(str, tmp_path.iterdir())])  # pytest cannot delete what is too deep


def survivors(folder: Path, patience: float = 3) -> list[int]:
    """Processes in whose environment a folder is named, once those that were killed had some seconds to go."""
    deadline = time.monotonic() + patience
    while (found := [int(place.name) for place in Path("/proc").glob("[0-9]*") if _names(place, folder)]) and (
        time.monotonic() < deadline
    ):
        time.sleep(0.05)
    return found


def _names(process: Path, folder: Path) -> bool:
    try:
        return str(folder).encode() in (process / "environ").read_bytes()
    except OSError:
        return False


# ── The metric ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_value_is_the_share_of_tests_passed() -> None:
    assert mark(DOUBLE) == 1.0
    assert mark("def double(x): return 2") == Mark(0.5, "1 of 2 tests failed; 'assert double(5) == 10': AssertionError")
    assert mark("def double(x):\n    return x / 0") == Mark(
        0.0, "2 of 2 tests failed; 'assert double(1) == 2': line 2: ZeroDivisionError"
    )


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("def double(x):\n    raise ValueError(open('/usr/bin/env', 'rb').read(3))", "line 2: ValueError"),
        ("def double(x):\n    raise type('secret', (Exception,), {})", "line 2: an error of another kind"),
        ("def double(x):\n    raise type('ValueError: secret', (Exception,), {})", "line 2: an error of another"),
        ("exec(compile('\\n' * 98764 + 'raise KeyError(1)', '<code>', 'exec'))", "KeyError"),
        ("def double(x):\n    import os; os._exit(0)", "the process ended early"),
    ],
)
def test_what_code_says_does_not_get_into_the_feedback(code: str, told: str) -> None:
    found = mark(code).feedback
    assert found.startswith(f"2 of 2 tests failed; 'assert double(1) == 2': {told}")
    assert "secret" not in found
    assert "ELF" not in found
    assert "9876" not in found


def test_what_code_says_is_quoted_where_the_user_says_so() -> None:
    quoted = mark("def double(x):\n    raise ValueError(open('/usr/bin/env', 'rb').read(4))", messages=True)
    assert quoted.feedback.endswith("line 2: ValueError: b'\\x7fELF'")
    assert mark("def double(x:", messages=True).feedback.startswith("no Python: line 1: SyntaxError: '(' was")


def test_no_process_is_nobodys_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*given: Any, **options: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tempfile, "mkdtemp", full)
    assert mark(DOUBLE) == Mark(None, "the sandbox did not start: No space left on device")


def test_an_object_in_json_is_no_code() -> None:
    assert mark({}) == Mark(None, "no text: an object in JSON", failed=True)


@pytest.mark.parametrize(
    ("output", "reason"),
    [
        ("def double(x:", "line 1: SyntaxError"),
        ("I cannot do that.", "line 1: SyntaxError"),
        ("", "NameError"),
        ("import no_such_module", "line 1: ModuleNotFoundError"),
        ("raise ValueError('long ' * 1000)", "line 1: ValueError"),
        ("def double(x): return double(x)", "line 1: RecursionError"),
        ("\x00", "Error"),  # its kind depends on Python's version
    ],
)
def test_what_fails_is_told_in_200_characters(output: str, reason: str) -> None:
    found = mark(output)
    assert found.value == 0
    assert reason in found.feedback
    assert len(found.feedback) <= 200


def test_outputs_keep_their_order_and_none_is_unscored() -> None:
    outputs = [DOUBLE, None, "double = 1", DOUBLE]
    marks = Code(workers=3, seconds=20)(outputs, [Example(str(i), None, TESTS) for i in range(4)])
    assert [one.value if isinstance(one, Mark) else one for one in marks] == [1.0, None, 0.0, 1.0]


def test_workers_run_outputs_side_by_side() -> None:
    slow = "import time\ntime.sleep(2)\n" + DOUBLE
    started = time.monotonic()
    assert Code(workers=4, seconds=20)([slow] * 4, [Example(str(i), None, TESTS) for i in range(4)]) == [1.0] * 4
    assert time.monotonic() - started < 7


def test_tests_come_from_the_recipe_or_the_label() -> None:
    metric = call(Code, {"tests": TESTS, "seconds": 20.0, "megabytes": 256, "workers": 1}, where="metric")
    assert metric([DOUBLE], [Example("e", None, "not Python at all")]) == [1.0]
    with pytest.raises(UserError, match="the label of example 'e': invalid syntax"):
        mark(DOUBLE, "not Python at all")


@pytest.mark.parametrize("tests", [None, [], "", "# nothing", ["assert True", "# nothing"], 5, [5]])
def test_no_tests_are_an_error(tests: Any) -> None:
    with pytest.raises(UserError, match="label of example 'e'"):
        mark(DOUBLE, tests)


@pytest.mark.parametrize("options", [{"seconds": 0}, {"megabytes": 1}, {"workers": 0}])
def test_senseless_limits_are_errors(options: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=f"{next(iter(options))} is {next(iter(options.values()))}; allowed is"):
        Code(**options)


def test_one_text_is_parted_after_each_assert() -> None:
    text = (
        "import math\nx = 4\nassert math.sqrt(x) == 2\nassert x\ndef check(f):\n    assert f(1) == 2\ncheck(double)\n"
    )
    assert [part.splitlines()[-1] for part in split(text, of="")] == [
        "assert math.sqrt(x) == 2",
        "assert x",
        "check(double)",
    ]
    assert mark(DOUBLE, text) == 1.0


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        ("x = 1", "x = 1"),
        ("So:\n```python\nx = 1\n```\nDone.", "x = 1\n"),
        ("```\nx = 1\n```", "x = 1\n"),
        ("```bash\npip install something-long\n```\n```py\nx = 1\n```", "x = 1\n"),
        ("```python\nx = 1\n```\n```python\nx = 1\ny = 2\n```", "x = 1\ny = 2\n"),
        ("```python\nx = 1\n", "x = 1\n"),
    ],
)
def test_code_is_found_in_replies(reply: str, code: str) -> None:
    assert code_in(reply) == code


# ── The sandbox ───────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.usefixtures("level")
@at(*LEVELS)
class TestSandbox:
    def test_honest_code_passes(self) -> None:
        assert errors(DOUBLE) == [None, None]

    @pytest.mark.parametrize(
        "code",
        ["import sys\nsys.exit(0)", "import os\nos._exit(0)", "raise SystemExit", "import os\nos.abort()", "quit()"],
    )
    def test_leaving_is_not_passing(self, code: str) -> None:
        assert None not in errors(DOUBLE + code)

    def test_an_exit_is_told_as_an_error(self) -> None:
        assert errors("import sys\nsys.exit(0)") == ["line 2: SystemExit: 0"] * 2

    def test_leaving_in_the_middle_fails_the_rest(self) -> None:
        code = "import os\ndef double(x):\n    return 2 if x == 1 else os._exit(0)"
        assert errors(code) == [None, "the process ended early"]

    @pytest.mark.parametrize("line", ['["{}", 0, null]\\n["{}", 1, null]\\n', "[null, 0, null]\\n", "2 passed\\n"])
    def test_results_that_the_code_writes_itself_do_not_count(self, line: str) -> None:
        code = f"""
import os, sys
line = {line!r}.encode().decode("unicode_escape").replace("{{}}", "0" * 32)
print(line, line, file=sys.stderr, flush=True)
print(line, flush=True)
for number in range(3, 64):
    try:
        os.write(number, line.encode())
    except OSError:
        pass
os._exit(0)
"""
        assert errors(code) == ["the process ended early"] * 2

    def test_a_forked_copy_does_not_report(self) -> None:
        code = (
            "import os\npid = os.fork()\ndef double(x):\n    return 2 * x if pid else 0\nif pid: os.waitpid(pid, 0)\n"
        )
        assert errors(code) in (
            [None, None],
            ["line 2: BlockingIOError: [Errno 11] Resource temporarily unavailable"] * 2,
        )

    def test_an_endless_loop_ends_at_the_limit(self) -> None:
        started = time.monotonic()
        code = "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nwhile True: pass"
        assert errors(DOUBLE + code, seconds=0.5) == ["not finished after 0.5 s"] * 2
        assert time.monotonic() - started < 3

    def test_a_loop_in_a_later_test_keeps_what_passed(self) -> None:
        code = "def double(x):\n    while x > 1: pass\n    return 2 * x"
        assert errors(code, seconds=3) == [None, "not finished after 3 s"]

    def test_waiting_costs_the_same_time_as_working(self) -> None:
        assert errors("import time\ntime.sleep(60)", seconds=0.5) == ["not finished after 0.5 s"] * 2

    @pytest.mark.parametrize("code", ["x = bytearray(10**9)", "x = []\nwhile True: x.append(bytearray(10**7))"])
    def test_memory_is_limited(self, code: str) -> None:
        assert all(error and "MemoryError" in error for error in errors(code, megabytes=200))

    def test_output_without_end_harms_nobody(self) -> None:
        code = "import sys\nfor _ in range(20000):\n    print('x' * 10000)\n    sys.stderr.write('y' * 1000)\n"
        assert errors(DOUBLE + code, seconds=20) == [None, None]

    def test_files_are_limited(self) -> None:
        error = errors("with open('big', 'wb') as file:\n    file.write(b'x' * 10**8)")[0]
        assert error is not None
        assert "File too large" in error

    def test_limits_cannot_be_raised_again_by_an_ordinary_user(self, level: str) -> None:
        if os.getuid() == 0 and level == "neither":
            pytest.skip("root may raise its limits where there are no namespaces")
        error = errors("import resource\nresource.setrlimit(resource.RLIMIT_AS, (2**40, 2**40))")[0]
        assert error is not None
        assert "not allowed to raise maximum limit" in error

    def test_a_few_processes_die_with_the_code(self, folders: Path) -> None:
        code = """
import os, time
for _ in range(5):
    try:
        if os.fork() == 0:
            time.sleep(60)
    except OSError:
        break
time.sleep(60)
"""
        started = time.monotonic()
        assert errors(code, seconds=0.5) == ["not finished after 0.5 s"] * 2
        assert time.monotonic() - started < 3
        assert survivors(folders) == []

    def test_our_environment_is_not_passed_on(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PLANTED_KEY", "sk-planted")
        code = "import os\nassert os.environ['HOME'] == os.getcwd()\nraise Exception(sorted(os.environ))"
        error = errors(code)[0]
        assert error is not None
        assert "'PATH'" in error
        assert "PLANTED" not in error
        assert errors("import os\nassert 'sk-planted' not in os.environ.values()\n" + DOUBLE) == [None, None]

    def test_the_folder_is_empty_to_be_written_in_and_gone_afterwards(self, folders: Path) -> None:
        code = "import os\nassert os.listdir('.') == []\nopen('a', 'w').write('x')\nraise Exception(os.getcwd())"
        error = errors(code)[0]
        assert error is not None
        assert f"Exception: {folders}/promptopt-" in error
        assert list(folders.iterdir()) == []

    def test_nothing_comes_from_standard_input(self) -> None:
        assert errors("input()")[0] == "line 1: EOFError: EOF when reading a line"

    def test_sets_have_one_order(self) -> None:
        code = "raise Exception(list({'a', 'b', 'c', 'd', 'e', 'f'}))"
        assert errors(code) == errors(code)

    def test_only_the_file_for_reports_is_open(self) -> None:
        code = """
import os
paths = [f"/proc/self/fd/{number}" for number in os.listdir("/proc/self/fd")]
raise Exception(sum(os.readlink(path) != "/dev/null" for path in paths if os.path.lexists(path)))
"""
        assert errors(code)[0] == "line 4: Exception: 1"

    def test_numpy_can_be_imported(self, level: str) -> None:
        assert errors("import numpy\n" + DOUBLE, megabytes=2048) == [None, None]


# ── The table of docs/metrics.md ──────────────────────────────────────────────────────────────────────────────────

DEEDS = {  # by how a row of the table begins; each raises where it cannot be done
    "read your files": "open(VICTIM).read()",
    "change your files": """
for deed in (
    lambda: open(VICTIM, "a").write("x"),
    lambda: os.chmod(VICTIM, 0o640),
    lambda: os.utime(VICTIM, (1, 1)),
    lambda: os.setxattr(VICTIM, "user.planted", b"x"),
):
    try:
        deed()
    except OSError:
        continue
    break
else:
    raise OSError
""",
    "connect to sockets in the file system": "socket.socket(socket.AF_UNIX).connect(SOCKET)",
    "write more than 80 MiB": """
written = 0
for number in range(12):
    folder = "." if number < 6 else "/dev/shm"
    with open(f"{folder}/promptopt-{number}", "wb") as file:
        try:
            os.posix_fallocate(file.fileno(), 0, 15 * 2**20)
        except OSError:
            continue
    written += 15
    if written > 80:
        break
else:
    raise OSError
""",
    "write more than 16 MiB into a file": "os.posix_fallocate(os.open('big', os.O_CREAT | os.O_RDWR), 0, 17 * 2**20)",
    "reach the network": "socket.create_connection(('127.0.0.1', PORT), 5)",
    "see which other processes": "assert os.path.exists(f'/proc/{PID}')",
    "signal other processes": "os.kill(PID, 0)",
    "look into other processes": "open(f'/proc/{PID}/environ', 'rb').read(1)",
    "inherit promptopt's environment, or files": """
for number in range(256):
    try:
        opened = os.fstat(number)
    except OSError:
        continue
    if (opened.st_dev, opened.st_ino) == OPENED:
        break
else:
    assert "PLANTED_KEY" in os.environ
""",
    "start processes": """
if (child := os.fork()) == 0:
    os._exit(0)
os.waitpid(child, 0)
""",
    "leave a process behind": """
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        time.sleep(60)
    os._exit(0)
time.sleep(0.1)
""",
    "leave files in its folder": """
for number in range(1500):
    os.mkdir("a")
    os.chdir("a")
os.chmod(".", 0)
""",
}
BREAKING_OUT = """
import os, socket, time
done = ""
for deed in DEEDS:
    try:
        exec(deed, globals())
        done += "1"
    except (OSError, AssertionError):
        done += "0"
raise Exception(done)
"""


BY = """
import json, os, sys, tempfile
from promptopt.metrics import sandbox
level, better, tempfile.tempdir, opened, known, code = json.load(sys.stdin)
os.set_inheritable(opened, True)
for one in better:
    setattr(sandbox, one, lambda: "")
here = level == "neither" or getattr(sandbox, level)()
known = f"PID = {os.getpid()}\\n" + known
print(json.dumps(sandbox.run_tests(known + code, ["pass"], limits=sandbox.Limits(20)) if here else None))
"""
"""What the owner of files and processes runs: code in the sandbox. Like the sandbox it needs nothing but Python."""
NOBODY = 65534
REPOSITORY = Path(__file__).parents[2]


def by(user: int, job: list[Any]) -> str | None:
    """The error of code that a user has run in the sandbox; skips what cannot be had here."""
    given: dict[str, Any] = {"env": {"PLANTED_KEY": "sk-planted", "PATH": os.defpath, "PYTHONPATH": str(REPOSITORY)}}
    pythons = [sys.executable]
    if user != os.getuid():
        given |= {"user": user, "group": user, "extra_groups": [], "cwd": "/"}
        pythons.append("/usr/bin/python3")  # the other one may lie in the home of root
    for python in pythons:
        with suppress(OSError):
            ran = subprocess.run(
                [python, "-B", "-c", BY],
                input=json.dumps(job),
                capture_output=True,
                text=True,
                pass_fds=[job[3]],
                **given,
            )
            if ran.returncode == 0:
                if (errors := json.loads(ran.stdout)) is None:
                    pytest.skip(f"{job[0]}: not here, or not allowed")
                return errors[0]
    if user == os.getuid():
        pytest.fail(ran.stderr)
    pytest.skip("this user can run no Python here, or not read promptopt")


def table(*, root: bool) -> dict[str, dict[str, bool]]:
    """What docs/metrics.md says of each deed: by its row and by level, whether it can be done."""
    text = (REPOSITORY / "docs" / "metrics.md").read_text(encoding="utf-8")
    lines = [line.strip("| ").split(" | ") for line in text.partition("| what the code can do ")[2].splitlines()]
    rows = {deed: next(line[1:] for line in lines if line[0].startswith(deed)) for deed in DEEDS}
    end = next(number for number, line in enumerate(lines) if line == [""])
    assert len(rows) == end - 2, "a row that no deed checks"
    return {
        deed: {
            level: cell != "no" and (root or "as root" not in cell) for level, cell in zip(LEVELS, cells, strict=True)
        }
        for deed, cells in rows.items()
    }


@pytest.fixture
def reachable() -> Iterator[Path]:
    """A folder that every user can reach; pytest's own are of the one who runs the tests."""
    place = Path(tempfile.mkdtemp(prefix="promptopt-tests-"))
    place.chmod(0o755)
    yield place
    subprocess.run(["rm", "-rf", "--", str(place)])


@pytest.mark.parametrize("user", [os.getuid(), *([NOBODY] if os.getuid() == 0 else [])])
@pytest.mark.parametrize("level", LEVELS)
def test_the_table_of_what_code_can_do_is_true(level: str, user: int, reachable: Path) -> None:
    folders, mine = reachable / "folders", reachable / "mine"
    victim = mine / "file"
    for place in (folders, mine):
        place.mkdir()
    victim.write_text("mine")
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.socket(socket.AF_UNIX) as local,
        victim.open() as opened,
    ):
        local.bind(str(mine / "socket"))
        local.listen()
        for place in (folders, mine, *mine.iterdir()):
            os.chown(place, user, -1)
        status = os.fstat(opened.fileno())
        known = {
            "VICTIM": str(victim),
            "SOCKET": str(mine / "socket"),
            "PORT": server.getsockname()[1],
            "OPENED": (status.st_dev, status.st_ino),
            "DEEDS": list(DEEDS.values()),
        }
        given = "".join(f"{name} = {value!r}\n" for name, value in known.items())
        better = LEVELS[: LEVELS.index(level)]
        error = by(user, [level, better, str(folders), opened.fileno(), given, BREAKING_OUT])
    left = survivors(folders, patience=0 if level == "neither" else 3)
    for process in left:
        os.kill(process, signal.SIGKILL)
    assert error is not None
    done = dict(zip(DEEDS, (digit == "1" for digit in error.rpartition(" ")[2]), strict=True))
    done["leave a process behind"] = bool(left)
    done["leave files in its folder"] = bool(list(folders.iterdir()))
    assert done == {deed: cells[level] for deed, cells in table(root=user == 0).items()}


def test_without_bubblewrap_what_is_required_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "bubblewrap", lambda: "")
    with pytest.raises(UserError, match=r'sandbox = "required" needs bubblewrap, .* or say sandbox = "auto"'):
        call(Code, {"sandbox": "required"}, where="metric")
    with pytest.raises(UserError, match="sandbox"):
        call(Code, {"sandbox": "none"}, where="metric")
    monkeypatch.setattr(sandbox, "bubblewrap", lambda: "/usr/bin/bwrap")
    assert call(Code, {"sandbox": "required"}, where="metric")


def test_lines_that_are_no_reports_cost_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox.json, "loads", lambda line: pytest.fail("read"))
    assert sandbox._reports(b"[null, 0, null]\n\n" * 1000, "0" * 32) == {}


@at("bubblewrap")
@pytest.mark.usefixtures("level")
class TestBubblewrap:
    def test_a_folder_of_pythons_may_be_that_of_a_project(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / ".env").write_text("KEY=sk-planted")
        venv.create(tmp_path, symlinks=True)
        monkeypatch.setattr(sys, "prefix", str(tmp_path))
        monkeypatch.setattr(sandbox, "PYTHON", (str(tmp_path / "bin" / "python"), *sandbox.PYTHON[1:]))
        error = errors(f"import os\nraise Exception(sorted(os.listdir({str(tmp_path)!r})))")[0]
        assert error is not None
        assert "'lib'" in error
        assert ".env" not in error

    def test_the_settings_of_the_kernel_cannot_be_changed(self) -> None:
        error = errors("open('/proc/sys/kernel/core_pattern', 'r+')")[0]
        assert error is not None
        assert "Permission denied" in error or "Read-only file system" in error

    @pytest.mark.parametrize(
        "deed", ["open({!r})", "open({!r}, 'w')", "open({!r} + '2', 'w')", "import os; os.chmod({!r}, 0)"]
    )
    def test_files_elsewhere_are_not_there(self, deed: str, tmp_path: Path) -> None:
        (victim := tmp_path / "file").write_text("mine")
        error = errors(deed.format(str(victim)))[0]
        assert error is not None
        assert "FileNotFoundError" in error
        assert [one.read_text() for one in tmp_path.iterdir()] == ["mine"]

    def test_nor_is_the_home_of_the_user(self) -> None:
        code = f"""
import os
visible = {(sys.prefix, sys.base_prefix, str(sandbox.HARNESS))!r}
found = []
for folder, folders, names in os.walk({str(Path.home())!r}):
    folders[:] = [name for name in folders if not os.path.join(folder, name).startswith(visible)]
    found += [os.path.join(folder, name) for name in names]
raise Exception([path for path in found if not path.startswith(visible)])
"""
        assert errors(code)[0] == "line 8: Exception: []"

    @pytest.mark.parametrize("place", ["/", "/dev", "/usr", sys.prefix, sys.base_prefix, str(sandbox.HARNESS.parent)])
    def test_what_is_there_cannot_be_changed(self, place: str) -> None:
        error = errors(f"open({place + '/planted'!r}, 'w')")[0]
        assert error is not None
        assert "Read-only file system" in error

    def test_the_modes_of_programs_stay(self) -> None:
        error = errors(f"import os\nos.chmod({sys.executable!r}, 0o700)")[0]
        assert error is not None
        assert "Read-only file system" in error

    def test_the_folder_holds_64_mebibytes(self) -> None:
        code = "for name in '123456':\n    open(name, 'wb').write(bytes(15 * 2**20))"
        error = errors(code)[0]
        assert error is not None
        assert "No space left on device" in error

    def test_a_socket_in_the_file_system_cannot_be_reached(self, tmp_path: Path) -> None:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(tmp_path / "socket"))
            server.listen()
            error = errors(f"import socket\nsocket.socket(socket.AF_UNIX).connect({str(tmp_path / 'socket')!r})")[0]
        assert error is not None
        assert "FileNotFoundError" in error

    def test_no_other_process_can_be_seen(self) -> None:
        code = "import os\nraise Exception([name for name in os.listdir('/proc') if name.isdigit()])"
        assert errors(code)[0] == "line 2: Exception: ['1']"


@pytest.mark.usefixtures("level")
@at("namespaces")
def test_the_memory_and_environment_of_the_run_cannot_be_read() -> None:
    code = f"""
import os
for number in (1, {os.getpid()}):
    for name in ("environ", "maps"):
        try:
            open(f"/proc/{{number}}/{{name}}", "rb").read(10)
        except OSError:
            continue
        raise Exception(f"read {{name}} of {{number}}")
"""
    assert errors(DOUBLE + code) == [None, None]


@pytest.mark.usefixtures("level")
@at("bubblewrap", "namespaces")
def test_no_process_outlives_the_code_not_even_in_a_session_of_its_own(folders: Path) -> None:
    code = """
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        time.sleep(60)
    os._exit(0)
time.sleep(0.2)
"""
    assert errors(DOUBLE + code) == [None, None]
    assert survivors(folders) == []


@pytest.mark.usefixtures("level")
@at("bubblewrap", "namespaces")
def test_a_local_server_cannot_be_reached() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.5)
        error = errors(f"import socket\nsocket.create_connection({server.getsockname()!r}, 1)")[0]
        assert error is not None
        assert "unreachable" in error or "refused" in error
        with pytest.raises(TimeoutError):
            server.accept()


@pytest.mark.usefixtures("level")
@at("bubblewrap", "namespaces")
def test_there_is_no_network_at_all() -> None:
    code = "import socket\nsocket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('192.0.2.1', 9))"
    error = errors(code)[0]
    assert error is not None
    assert "unreachable" in error


def test_what_the_sandbox_lacks_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "bubblewrap", lambda: "")
    monkeypatch.setattr(sandbox, "namespaces", lambda: ("unshare",))
    with pytest.warns(RuntimeWarning, match=r"without bubblewrap, so it can read .* files; bwrap is not installed"):
        sandbox.check()
    monkeypatch.setattr(sandbox, "namespaces", lambda: ())
    with pytest.warns(RuntimeWarning, match="without bubblewrap, .* and without namespaces, so its network is open"):
        sandbox.check()
    monkeypatch.setattr(sandbox, "bubblewrap", lambda: "/usr/bin/bwrap")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sandbox.check()


def test_a_bubblewrap_that_does_not_work_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bwrap").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "bwrap").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert sandbox.bubblewrap.__wrapped__() == ""
    monkeypatch.setenv("PATH", "")
    assert sandbox.bubblewrap.__wrapped__() == ""


def test_other_systems_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(UserError, match="needs Linux"):
        Code()
