"""The ledger: what goes in comes out, whatever it is and however the process ended."""

from __future__ import annotations

import json
import math
import multiprocessing
import os
import resource
import signal
import subprocess
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptopt.core import (
    Case,
    Completion,
    Coverage,
    Dataset,
    Duel,
    Message,
    Picture,
    Preference,
    Prompt,
    Rate,
    Rating,
    Reply,
    Request,
    Usage,
)
from promptopt.errors import LockedRun, PromptoptError, ReplayMismatch, UserError
from promptopt.models.keys import call_key
from promptopt.record.codec import (
    decode_answer,
    decode_completion,
    decode_question,
    encode,
    encode_completion,
    encode_question,
)
from promptopt.record.freeze import OBJECT, freeze
from promptopt.record.ledger import Ledger, read
from promptopt.record.replay import Replay

FORK = multiprocessing.get_context("fork")

# ── Round trips ───────────────────────────────────────────────────────────────────────────────────────────────────

texts = st.text(st.characters(exclude_categories=()))  # half surrogate pairs too
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)
prompts = st.builds(Prompt, texts, st.dictionaries(texts, json_values, max_size=2))
rates = st.builds(Rate, prompts, st.lists(texts, max_size=3).map(tuple), st.booleans())
duels = st.builds(Duel, prompts, prompts)
numbers = st.floats(allow_infinity=False)
arrays = st.none() | st.lists(numbers, max_size=5).map(np.array)
coverages = st.none() | st.builds(
    Coverage, st.integers(0), st.integers(0), st.integers(0), st.dictionaries(texts, st.integers(1), max_size=3)
)
cases = st.lists(st.builds(Case, texts, st.none() | texts, numbers, texts), max_size=3).map(tuple)
ratings = st.builds(
    Rating, numbers, st.floats(allow_nan=False, allow_infinity=False), arrays, texts, coverage=coverages, cases=cases
)
preferences = st.builds(Preference, st.sampled_from(["a", "b", "tie", "unknown"]))


def through_a_file(event: dict[str, Any], folder: Path) -> dict[str, Any]:
    """What a ledger gives back of an event."""
    with_name = {"event": "answer", **event}
    ledger = Ledger(folder)
    ledger.append(with_name)
    ledger.close()
    found = read(folder / "ledger.jsonl")[-1]
    assert set(found) == set(with_name)
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("ledger")


@given(rates, ratings)
def test_ratings_come_back_as_they_were(folder: Path, question: Rate, answer: Rating) -> None:
    event = through_a_file(encode(question, answer), folder)
    asked, told = decode_question(event), decode_answer(event)
    assert isinstance(asked, Rate)
    assert isinstance(told, Rating)
    assert (asked.prompt.text, asked.on, asked.cases) == (question.prompt.text, question.on, question.cases)
    assert asked.prompt.origin == question.prompt.origin
    np.testing.assert_array_equal([told.value, told.tiebreak], [answer.value, answer.tiebreak])
    assert (told.feedback, told.coverage) == (answer.feedback, answer.coverage)
    assert [replace(case, value=0) for case in told.cases] == [replace(case, value=0) for case in answer.cases]
    np.testing.assert_array_equal([case.value for case in told.cases], [case.value for case in answer.cases])
    assert (told.per_example is None) == (answer.per_example is None)
    if answer.per_example is not None:
        np.testing.assert_array_equal(told.per_example, answer.per_example)


@given(duels, preferences)
def test_preferences_come_back_as_they_were(folder: Path, question: Duel, answer: Preference) -> None:
    event = through_a_file(encode(question, answer), folder)
    assert decode_question(event) == question
    assert decode_answer(event) == answer


@given(st.lists(st.builds(Reply, texts, st.sampled_from(["stop", "length", "refusal"])), max_size=3).map(tuple))
def test_completions_come_back_as_they_were(folder: Path, replies: tuple[Reply, ...]) -> None:
    completion = Completion(replies, Usage(1, 20, 30, 0.0125))
    assert decode_completion(through_a_file(encode_completion(completion), folder)) == completion


def test_numbers_are_written_short_and_plain() -> None:
    written = json.dumps(encode(Rate(Prompt("p")), Rating(1.0, 0.25, np.array([0.0, 1.0, math.nan, 0.5, 1e300]))))
    assert '"value": 1,' in written
    assert '"per_example": [0, 1, null, 0.5, 1e+300]' in written


def test_lines_are_json_that_other_tools_read(tmp_path: Path) -> None:
    nasty = 'quotes " and \\ and \u2028 and \n\r\t\x00 and [bold] and 😀 {}'
    ledger = Ledger(tmp_path)
    ledger.append(*({"event": "answer", "n": i, "prompt": nasty * i} for i in range(3)))
    ledger.close()
    data = (tmp_path / "ledger.jsonl").read_bytes()
    assert data.endswith(b"}\n")
    assert len(data.split(b"\n")) == 4
    assert [json.loads(line)["prompt"] for line in data.decode("utf-8").split("\n")[:-1]] == ["", nasty, nasty * 2]


def test_a_very_long_prompt(tmp_path: Path) -> None:
    question = Rate(Prompt("word " * 1_000_000))
    event = through_a_file(encode(question, Rating(0.5)), tmp_path)
    assert decode_question(event) == question


def test_without_a_folder_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    ledger = Ledger(None)
    ledger.append({"event": "answer"})
    ledger.close()
    assert not list(tmp_path.iterdir())


# ── Calls ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_every_parameter_is_part_of_a_calls_key() -> None:
    hello = Message("user", "hello")
    base = Request([hello], n=1, temperature=1.0, seed=0)
    changes: list[dict[str, Any]] = [
        {"n": 2},
        {"temperature": 0.5},
        {"seed": 1},
        {"seed": None},
        {"schema": {"type": "object"}},
    ]
    changes += [{"stop": ["\n"]}, {"stop": ["."]}, {"max_tokens": 5}]
    picture = Message("user", "hello", (Picture(b"x"),))
    for messages in ([Message("system", "hello")], [Message("user", "hello!")], [hello] * 2, [picture], []):
        changes.append({"messages": messages})
    keys = [call_key("m", replace(base, **change)) for change in ({}, *changes)] + [call_key("other", base)]
    assert len(set(keys)) == len(keys)
    assert call_key("m", replace(base, messages=[Message("user", "hello")])) == keys[0]
    assert call_key("m", replace(base, messages=[Message("user", "\ud83d")])) not in keys
    assert keys[0] == "29a3f94dc6de18ff8aac54851ada9244"  # as ledgers have it


def _call(key: str, text: str, part: str = "scorer") -> dict[str, Any]:
    completion = Completion((Reply(text),), Usage(1, 2, 3, 0.5))
    return {"event": "call", "part": part, "role": "judge", "model": "m", "key": key, **encode_completion(completion)}


def _answer(n: int, stage: str = "search") -> dict[str, Any]:
    return {"event": "answer", "stage": stage, "n": n, **encode(Rate(Prompt(f"p{n}")), Rating(float(n))), "t": float(n)}


def test_replay_gives_answers_back_in_order_and_knows_what_was_spent() -> None:
    replay = Replay([{"event": "start"}, _answer(0), _call("k", "one"), _answer(1), _answer(0, "dev")])
    assert (replay.questions, replay.usage, replay.seconds) == (3, Usage(1, 2, 3, 0.5), 1.0)
    assert replay.waiting == 2
    assert replay.answer("search", Rate(Prompt("p0"))) == Rating(0.0)
    assert replay.answer("search", Rate(Prompt("p1"))) == Rating(1.0)
    assert replay.answer("search", Rate(Prompt("p2"))) is None
    assert replay.answer("dev", Rate(Prompt("p0"))) == Rating(0.0)
    assert replay.answer("dev", Rate(Prompt("p1"))) is None
    assert replay.answer("dev", Duel(Prompt("p0"), Prompt("p1"))) is None


@pytest.mark.parametrize(
    "question", [Rate(Prompt("other")), Rate(Prompt("p0"), ("e1",)), Duel(Prompt("p0"), Prompt("p1"))]
)
def test_replay_says_so_when_the_question_is_another(question: Any) -> None:
    with pytest.raises(ReplayMismatch, match=r"question 0 is .* in the ledger: the recipe, the data or the code"):
        Replay([_answer(0)]).answer("search", question)


def test_a_proposers_calls_come_back_one_for_one() -> None:
    replay = Replay([_call("k", "one", "optimizer"), _answer(0), _call("k", "two", "optimizer")])
    texts = [c.replies[0].text if (c := replay.call("optimizer", "k")) else None for _ in range(3)]
    assert texts == ["one", "two", None]
    assert replay.call("optimizer", "other") is None


def test_a_scorers_calls_come_back_for_the_batch_under_way_only() -> None:
    past = [_call("k", "old"), _answer(0), _call("k", "ahead"), _call("j", "ahead"), _answer(1), _call("k", "new")]
    replay = Replay(past)
    replay.next_batch()
    replay.answer("search", Rate(Prompt("p0")))
    replay.next_batch()
    replay.answer("search", Rate(Prompt("p1")))  # recorded; the calls for its neighbours in the batch stay usable
    texts = [c.replies[0].text if (c := replay.call("scorer", "k")) else None for _ in range(3)]
    assert texts == ["ahead", "new", None]
    assert replay.call("scorer", "j") is not None
    replay.next_batch()
    assert replay.call("optimizer", "j") is None


# ── Torn and broken files ─────────────────────────────────────────────────────────────────────────────────────────


def test_a_last_line_torn_at_any_byte_is_recovered(tmp_path: Path) -> None:
    file = tmp_path / "ledger.jsonl"
    kept = b"".join(json.dumps(_answer(i)).encode() + b"\n" for i in range(2))
    last = json.dumps({**_answer(2), "prompt": "ünïcødé \u2028 \n"}, ensure_ascii=False).encode()
    for length in range(len(last) + 1):
        file.write_bytes(kept + last[:length])
        assert [event["n"] for event in read(file)] == [0, 1]
        assert file.stat().st_size == len(kept) + length, "reading alone does not repair"
        ledger = Ledger(tmp_path)
        ledger.append(_answer(2))
        ledger.close()
        assert [event["n"] for event in read(file)] == [0, 1, 2]
    file.write_bytes(kept + last + b"\n")
    assert [event["n"] for event in read(file)] == [0, 1, 2]


def test_a_torn_first_line_leaves_an_empty_ledger(tmp_path: Path) -> None:
    (tmp_path / "ledger.jsonl").write_bytes(b'{"event": "sta')
    ledger = Ledger(tmp_path)
    assert ledger.past == []
    ledger.close()
    assert (tmp_path / "ledger.jsonl").read_bytes() == b""


@pytest.mark.parametrize("line", [b'{"event": "ans', b"", b"[1]", b"7", b'{"prompt": "x"}', b"\xff\xfe", b"null"])
@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_broken_line_is_named(tmp_path: Path, line: bytes, number: int) -> None:
    rows = [json.dumps(_answer(i)).encode() for i in range(3)]
    rows[number - 1] = line
    (tmp_path / "ledger.jsonl").write_bytes(b"".join(row + b"\n" for row in rows))
    with pytest.raises(UserError, match=rf"ledger\.jsonl, line {number} is damaged: it is not .*: promptopt repair"):
        Ledger(tmp_path)
    Path(tmp_path / "ledger.jsonl").write_bytes(rows[number % 3] + b"\n")
    Ledger(tmp_path).close()  # the lock was let go


def _fill(folder: Path) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (5_000, 5_100))
    ledger = Ledger(folder)
    for i in range(1000):
        try:
            ledger.append(_answer(i))
        except PromptoptError:
            resource.setrlimit(resource.RLIMIT_FSIZE, (5_100, 5_100))
            ledger.append({"event": "f"})  # there is room again
            os._exit(0)
    os._exit(1)


def test_a_full_disk_leaves_whole_lines(tmp_path: Path) -> None:
    process = FORK.Process(target=_fill, args=(tmp_path,))
    process.start()
    process.join()
    assert process.exitcode == 0
    events = read(tmp_path / "ledger.jsonl")
    assert events[-1] == {"event": "f"}
    assert [event["n"] for event in events[:-1]] == list(range(len(events) - 1))


def test_what_comes_after_the_end_is_refused_and_written_nowhere(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.append({"event": "start"})
    ledger.close()
    others = [os.open(tmp_path / f"other {i}", os.O_WRONLY | os.O_CREAT) for i in range(3)]  # take its descriptor
    with pytest.raises(PromptoptError, match="closed"):
        ledger.append({"event": "late"})
    ledger.close()  # once more does no harm
    for other in others:
        assert os.fstat(other).st_size == 0
        os.close(other)
    assert read(tmp_path / "ledger.jsonl") == [{"event": "start"}]


# ── One process at a time ─────────────────────────────────────────────────────────────────────────────────────────


def test_a_second_opening_is_refused_until_the_first_closes(tmp_path: Path) -> None:
    first = Ledger(tmp_path)
    with pytest.raises(LockedRun, match="in use by another process"):
        Ledger(tmp_path)
    first.append({"event": "start"})
    first.close()
    second = Ledger(tmp_path)
    assert second.past == [{"event": "start"}]
    second.close()


def _hold(folder: Path) -> None:
    ledger = Ledger(folder)
    ledger.append({"event": "start"})
    time.sleep(60)


def test_the_lock_of_a_killed_process_is_gone(tmp_path: Path) -> None:
    process = FORK.Process(target=_hold, args=(tmp_path,))
    process.start()
    while not read(tmp_path / "ledger.jsonl"):
        time.sleep(0.01)
    with pytest.raises(LockedRun):
        Ledger(tmp_path)
    assert process.pid
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    ledger = Ledger(tmp_path)
    assert ledger.past == [{"event": "start"}]
    ledger.close()


def test_a_folder_that_cannot_be_made_is_the_users_mistake(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for wrong in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(UserError, match="cannot record a run in"):
            Ledger(wrong)


def test_jq_reads_a_ledger(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.append({**_answer(0), "prompt": "line \u2028 break \n and \x00 {}"})
    ledger.close()
    try:
        done = subprocess.run(["jq", "-c", ".value", str(tmp_path / "ledger.jsonl")], capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("jq is not installed")
    assert (done.returncode, done.stdout.strip()) == (0, "0")


def test_encode_question_is_json() -> None:
    question = Rate(Prompt("a", {"parents": ("x", "y"), "step": 1}), ("e1",))
    assert json.loads(json.dumps(encode_question(question)))["on"] == ["e1"]


def test_an_object_of_core_is_named_as_it_always_was() -> None:
    assert freeze({"data": Dataset("digits", ())}) == {"data": {OBJECT: "promptopt.core:Dataset"}}
