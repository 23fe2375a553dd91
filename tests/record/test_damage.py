"""Damaged ledgers: nothing follows from them silently, one message names the line, and what can be saved is saved."""

from __future__ import annotations

import io
import json
import os
import random
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from run_parts import rewrite

import promptopt
from promptopt import cli
from promptopt.errors import PromptoptError, UserError
from promptopt.record import fields, folder, ledger
from promptopt.record.ledger import Ledger, read
from promptopt.record.lines import scan
from promptopt.record.repair import repair
from promptopt.report.show import show

OLD = Path(__file__).parent / "ledger_without_checksums.jsonl"  # as an earlier version wrote it
WRITER = {"name": "chat", "model": "run_parts:Writer"}
CLIMB = {"name": "hill-climb", "restarts": 1, "resets": 1, "iterations": 2, "k": 4, "proposer": WRITER}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The ledger of a run with calls, answers at three stages and a verdict."""
    place = tmp_path_factory.mktemp("whole")
    recipe: dict[str, Any] = {"start": "answer {}", "target": "run_parts:ToyTarget", "data": "run_parts:toy_data"}
    promptopt.optimize(**recipe, optimizer=CLIMB, budget=12, run=place)
    return (place / "ledger.jsonl").read_bytes()


# ── Ways to damage a file ─────────────────────────────────────────────────────────────────────────────────────────


def flip(data: bytes, rng: random.Random) -> bytes:
    place = rng.randrange(len(data))
    return data[:place] + bytes([data[place] ^ 1 << rng.randrange(8)]) + data[place + 1 :]


def cut(data: bytes, rng: random.Random) -> bytes:
    return data[: rng.randrange(len(data))]


def leave_out(data: bytes, rng: random.Random) -> bytes:
    begin, end = sorted(rng.sample(range(len(data)), 2))
    return data[:begin] + data[end:]


def double(data: bytes, rng: random.Random) -> bytes:
    rows = data.splitlines(keepends=True)
    place = rng.randrange(len(rows))
    return b"".join([*rows[: place + 1], *rows[place:]])


def swap(data: bytes, rng: random.Random) -> bytes:
    rows = data.splitlines(keepends=True)
    one, other = rng.sample(range(len(rows)), 2)
    rows[one], rows[other] = rows[other], rows[one]
    return b"".join(rows)


def drop(data: bytes, rng: random.Random) -> bytes:
    rows = data.splitlines(keepends=True)
    del rows[rng.randrange(len(rows) - 1)]
    return b"".join(rows)


WAYS: list[Callable[[bytes, random.Random], bytes]] = [flip, cut, leave_out, double, swap, drop]


def damaged(data: bytes, number: int, *, seed: int = 0) -> Iterator[tuple[str, bytes]]:
    """So many damaged copies by each way, with the way's name."""
    rng = random.Random(seed)
    for _ in range(number):
        for way in WAYS:
            yield way.__name__, way(data, rng)


def kept_silently(data: bytes, whole: bytes) -> bool:
    """Whether a damaged file is read as if it were in order; then it is the beginning of the whole one, cut off."""
    found = scan(data)
    if found.damage:
        assert found.damage.line == len(found.events) + 1
        return False
    assert data[: found.size] == whole[: found.size]
    assert b"\n" not in data[found.size :]
    return True


def say(data: bytes, place: Path, work: Callable[[Path], Any]) -> str | None:
    """What the user is told by something that is done with a run; None where it comes about.

    Any error that is not promptopt's own would be a traceback.
    """
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    (place / "ledger.jsonl").write_bytes(data)
    said = None
    try:
        work(place)
    except PromptoptError as error:
        said = str(error)
    assert len(said or "") < 1000
    return said


def look(place: Path) -> None:
    show(place, Console(file=io.StringIO(), width=200))


# ── With checksums ────────────────────────────────────────────────────────────────────────────────────────────────


def test_no_damage_is_taken_for_the_record(whole: bytes) -> None:
    silent = [way for way, data in damaged(whole, 100) if kept_silently(data, whole)]
    assert set(silent) <= {"cut", "leave_out"}
    assert silent.count("cut") == 100
    assert silent.count("leave_out") < 15  # where the rest of the file was left out


@pytest.mark.study
def test_no_bit_of_many_can_be_flipped(whole: bytes) -> None:
    for place in range(0, len(whole), 3):
        for bit in range(8):
            changed = whole[:place] + bytes([whole[place] ^ 1 << bit]) + whole[place + 1 :]
            assert not kept_silently(changed, whole)


def test_the_message_names_the_line_and_resumptions_end_as_they_would_have(whole: bytes, tmp_path: Path) -> None:
    first = promptopt.resume(_folder(tmp_path / "first", whole))
    for way, data in damaged(whole, 3, seed=1):
        shown = say(data, tmp_path / "run", look)
        found = scan(data)
        if found.damage:
            assert shown is not None
            assert f"ledger.jsonl, line {found.damage.line} is damaged: " in shown
            assert say(data, tmp_path / "run", promptopt.resume) == shown
        elif found.events:
            assert promptopt.resume(_folder(tmp_path / "run", data)).best == first.best, way


def test_a_changed_cost_a_verdict_and_a_doubled_call_are_seen(whole: bytes) -> None:
    rows = whole.splitlines(keepends=True)
    call = next(i for i, row in enumerate(rows) if b'"event": "call"' in row)
    verdict = next(i for i, row in enumerate(rows) if b'"event": "verdict"' in row)
    dearer = [*rows[:call], rows[call].replace(b"0.01]", b"0.91]"), *rows[call + 1 :]]
    better = [*rows[:verdict], rows[verdict].replace(b'"difference": 0.', b'"difference": 1.'), *rows[verdict + 1 :]]
    twice = [*rows[: call + 1], *rows[call:]]
    for changed, line in ((dearer, call + 1), (better, verdict + 1), (twice, call + 2)):
        assert changed != rows, line
        found = scan(b"".join(changed)).damage
        assert found is not None
        assert found.line == line


def test_lines_that_are_cut_off_leave_a_ledger_that_goes_on(tmp_path: Path) -> None:
    book = Ledger(tmp_path)
    book.append(*({"event": "x", "n": n} for n in range(3)))
    book.close()
    file = tmp_path / "ledger.jsonl"
    file.write_bytes(file.read_bytes()[:-5])
    book = Ledger(tmp_path)
    assert [event["n"] for event in book.past] == [0, 1]
    book.append({"event": "x", "n": 9})
    book.close()
    assert [event["n"] for event in read(file)] == [0, 1, 9]


# ── Without ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_ledger_from_before_there_were_checksums_is_read_shown_and_goes_on(tmp_path: Path) -> None:
    old = OLD.read_bytes()
    assert b'"crc"' not in old
    assert len(read(OLD)) == len(old.splitlines())
    assert say(old, tmp_path / "shown", look) is None
    place = _folder(tmp_path / "run", old)
    stop = json.loads(old.splitlines()[-1])
    assert promptopt.resume(place, ["budget=12"]).best == stop["best"]
    data = (place / "ledger.jsonl").read_bytes()
    assert data.startswith(old)
    assert data.count(b'"crc"') == data.count(b"\n") - old.count(b"\n")
    changed = data.replace(b'"value": 0.75', b'"value": 0.95', 1)
    found = scan(changed).damage
    assert found is not None
    assert found.line == old.count(b"\n") + 1  # the first line with a checksum, which covers those before


def no_traceback(data: bytes, place: Path) -> None:
    for work in (look, promptopt.resume):
        say(data, place, work)


def test_damage_that_nothing_can_see_ends_in_no_traceback(tmp_path: Path) -> None:
    for _, data in damaged(OLD.read_bytes(), 5, seed=2):
        no_traceback(data, tmp_path / "run")


@pytest.mark.study
def test_much_damage_that_nothing_can_see_ends_in_no_traceback(tmp_path: Path) -> None:
    for _, data in damaged(OLD.read_bytes(), 100, seed=3):
        no_traceback(data, tmp_path / "run")


# ── Fields ────────────────────────────────────────────────────────────────────────────────────────────────────────

RATE = {"event": "answer", "stage": "search", "n": 0, "ask": "rate", "prompt": "p", "origin": {}, "value": 1}
RATE |= {"tiebreak": 0, "t": 0.5}
DUEL = {"event": "answer", "stage": "search", "n": 0, "ask": "duel", "a": "p", "b": "q", "origin": [{}, {}]}
DUEL |= {"winner": "a"}
CALL = {"event": "call", "part": "scorer", "role": "judge", "model": "m", "key": "k", "replies": [["x", "stop"]]}
CALL |= {"usage": [1, 2, 3, 0.5]}
START: dict[str, Any] = {"event": "start", "format": 1, "seed": 0, "start": ["p"], "recipe": {}}
MEANS = {"start": 0.1, "best": None, "difference": None, "low": None, "high": None, "examples": 1}
VERDICT = {"event": "verdict", "start_prompt": "p", "best_prompt": "q", "verdict": MEANS}
STOP = {"event": "stop", "reason": "r", "best": "p"}

RIGHT: list[dict[str, Any]] = [
    RATE,
    {**RATE, "value": None, "on": ["x", "y"], "per_example": [1, None], "cases": [["x", None, None, ""]]},
    {**RATE, "coverage": {"examples": 2, "scored": 1, "reasons": {"cut": 1}}, "counts": {"lost": 2}},
    DUEL,
    {**DUEL, "winner": "unknown", "again": True, "details": {"annotator": "ada"}},
    CALL,
    {**CALL, "replies": [["x", "stop", "replies/1.txt", "y"]], "more": "from a later version"},
    VERDICT,
    STOP,
    {**STOP, "belief": {"confidence": 0.5, "questions": None}},
    {"event": "turn", "answers": 0, "asked": 2},
    {"event": "resume", "extended": {"budget": 3}},
    {"event": "failed", "error": "E"},
]
WRONG: list[tuple[dict[str, Any], str]] = [
    ({**RATE, "value": "1"}, "its value is '1', not a number or null"),
    ({**RATE, "value": True}, "its value is True"),
    ({**RATE, "value": 10**400}, "its value is 1000000"),
    ({**RATE, "n": -1}, "its n is -1, not a whole number of at least 0"),
    ({**RATE, "n": 0.5}, "its n is 0.5"),
    ({**RATE, "prompt": None}, "its prompt is None, not a text"),
    ({**RATE, "origin": {"parents": 7}}, "its origin is"),
    ({**RATE, "per_example": [0, "x"]}, "its per_example is"),
    ({**RATE, "per_example": [10**400]}, "its per_example is"),
    ({**RATE, "on": ["x"], "per_example": [1, 2]}, "it has 2 values for 1 examples"),
    ({**RATE, "cases": [["x", "y", 1]]}, "its cases is"),
    ({**RATE, "coverage": {"examples": 2, "scored": 1, "odd": 1}}, "its coverage is"),
    ({**RATE, "counts": {"x": "y"}}, "its counts is"),
    ({**RATE, "t": -1}, "its t is -1, not seconds"),
    ({**RATE, "winner": "a"}, "its winner is 'a', not left out"),
    ({**RATE, "ask": "rave"}, "it is no event that this version knows"),
    ({**RATE, "ask": ["rate"]}, "it is no event that this version knows"),
    ({"event": "answer: rate"}, "it has no n, origin, prompt, stage, tiebreak, value"),
    ({"event": 7}, "it is no event that this version knows"),
    ({**DUEL, "winner": "c"}, "its winner is 'c', not a, b, tie or unknown"),
    ({**DUEL, "origin": {}}, "its origin is {}, not a list of two tables"),
    ({**DUEL, "stage": "dev"}, "its stage is 'dev', not search"),
    ({**CALL, "usage": [1, 2, 3]}, "its usage is [1, 2, 3], not four numbers of at least 0"),
    ({**CALL, "usage": [1, 2, 3, -0.5]}, "its usage is"),
    ({**CALL, "replies": [["x"]]}, "its replies is"),
    ({key: value for key, value in CALL.items() if key != "replies"}, "it has no replies"),
    ({**VERDICT, "verdict": {**MEANS, "examples": 0.5}}, "its verdict is"),
    ({**VERDICT, "verdict": {"start": 0.1}}, "its verdict is"),
    ({**STOP, "belief": {}}, "its belief is {}, not a belief"),
    ({key: value for key, value in STOP.items() if key != "best"}, "it has no best"),
    ({**START, "start": []}, "it begins the run once more"),
]


def test_what_runs_write_is_right() -> None:
    assert [fields.problem(event) for event in [START, *RIGHT]] == [None] * (1 + len(RIGHT))
    assert [fields.problem({**START, key: value}) for key, value in (("start", []), ("examples", {"train": 7}))] == [
        "its start is [], not a list of texts",
        "its examples is {'train': 7}, not lists of ids",
    ]


@pytest.mark.parametrize(("event", "problem"), WRONG)
def test_a_field_that_cannot_be_taken_is_named(tmp_path: Path, event: dict[str, Any], problem: str) -> None:
    rewrite(tmp_path / "ledger.jsonl", [START, event])
    with pytest.raises(UserError) as error:
        read(tmp_path / "ledger.jsonl")
    assert f"line 2 is damaged: {problem}" in str(error.value)
    book = Ledger(tmp_path / "other")  # a checksum that fits makes no wrong field right
    book.append(START, event)
    book.close()
    with pytest.raises(UserError, match="line 2 is damaged"):
        read(tmp_path / "other" / "ledger.jsonl")


@pytest.mark.parametrize("text", ["NaN", "Infinity", "[" * 100_000, "1" * 5_000])
def test_json_that_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "ledger.jsonl").write_text(f'{json.dumps(START)}\n{{"event": "x", "value": {text}}}\n')
    with pytest.raises(UserError, match="line 2 is damaged: it is not JSON"):
        read(tmp_path / "ledger.jsonl")


# ── Repair ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_repair_keeps_what_stands_before_the_damage_and_the_run_goes_on(whole: bytes, tmp_path: Path) -> None:
    first = promptopt.resume(_folder(tmp_path / "first", whole))
    rows = whole.splitlines(keepends=True)
    bad = b"".join([*rows[:4], rows[4].replace(b'"n"', b'"m"'), *rows[5:]])
    place = _folder(tmp_path / "run", bad)
    told = repair(place)
    assert "ledger.jsonl, line 5: its checksum does not fit" in told
    assert f"Kept: 4 lines before it. Dropped: {len(rows) - 4} from it on (answer: " in told
    assert "stop: 1" in told
    assert f"promptopt resume {place}" in told
    assert (place / "ledger.jsonl").read_bytes() == b"".join(rows[:4])
    assert (place / "damaged-1.jsonl").read_bytes() == bad
    assert promptopt.resume(place).best == first.best
    assert "is in order" in repair(place)
    assert not (place / "damaged-2.jsonl").exists()
    file = place / "ledger.jsonl"
    file.write_bytes(file.read_bytes().replace(b'"stop"', b'"stol"'))
    repair(place)
    assert (place / "damaged-1.jsonl").read_bytes() == bad
    assert (place / "damaged-2.jsonl").exists()


def test_repair_leaves_alone_what_is_whole_torn_or_beyond_saving(whole: bytes, tmp_path: Path) -> None:
    for data in (whole, whole[:-7]):
        assert "is in order" in repair(place := _folder(tmp_path / "run", data))
        assert (place / "ledger.jsonl").read_bytes() == data
    place = _folder(tmp_path / "run", b"x" + whole)
    with pytest.raises(UserError, match="damaged from its first line on"):
        repair(place)
    assert (place / "ledger.jsonl").read_bytes() == b"x" + whole
    with pytest.raises(UserError, match="there is no run in"):
        repair(tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()


def test_the_command(
    whole: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = whole.splitlines(keepends=True)
    place = _folder(tmp_path / "run", b"".join([*rows[:3], *rows[2:]]))
    monkeypatch.setattr(sys, "argv", ["promptopt", "show", str(place)])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 2
    assert "line 4 is damaged: its checksum does not fit" in (said := capsys.readouterr().err)
    assert said.endswith(f"with: promptopt repair {place}\n")
    monkeypatch.setattr(sys, "argv", ["promptopt", "repair", str(place)])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 0
    assert "Kept: 3 lines before it." in capsys.readouterr().out
    look(place)


# ── Disks ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _refusing(module: Any, name: str, monkeypatch: pytest.MonkeyPatch, *, error: int = 28) -> None:
    """Make one function of a module's ``os`` fail, as on a disk that is full (28) or read-only (30)."""

    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(module, "os", type("Os", (), {**vars(os), name: staticmethod(refuse)}))


def test_a_run_that_cannot_be_written_is_not_taken_up(
    whole: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = _folder(tmp_path / "run", whole)
    _refusing(ledger, "open", monkeypatch, error=30)
    with pytest.raises(UserError, match=r"cannot record a run in .*: Read-only file system"):
        promptopt.resume(place)
    monkeypatch.undo()
    promptopt.resume(place)  # the lock was let go


def test_a_disk_that_fills_up_at_the_end_is_told_and_the_lock_is_let_go(
    whole: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = _folder(tmp_path / "run", whole)
    _refusing(ledger, "fsync", monkeypatch)
    with pytest.raises(PromptoptError, match="cannot be written: No space left on device"):
        promptopt.resume(place)
    monkeypatch.undo()
    promptopt.resume(place)


def test_best_and_result_are_written_whole_or_not_at_all(
    whole: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = _folder(tmp_path / "run", whole)
    for name in ("best.txt", "result.json"):
        (place / name).write_text("from before")
    _refusing(folder, "fsync", monkeypatch)
    with pytest.raises(PromptoptError, match=r"best\.txt cannot be written: No space .* promptopt resume"):
        promptopt.resume(place)
    assert {one.name: one.read_text() for one in place.iterdir() if "before" in one.read_text()} == {
        "best.txt": "from before",
        "result.json": "from before",
    }
    assert not [one for one in place.iterdir() if one.suffix == ".part"]
    monkeypatch.undo()
    result = promptopt.resume(place)
    assert (place / "best.txt").read_text() == result.best + "\n"


def _folder(place: Path, data: bytes) -> Path:
    """A run's folder with this ledger and nothing else."""
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    (place / "ledger.jsonl").write_bytes(data)
    return place
