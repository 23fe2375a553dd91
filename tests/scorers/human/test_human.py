"""People as a scorer: what they are shown, the terminal, and runs that are stopped and taken up again."""

from __future__ import annotations

import io
import json
import os
import pty
import select
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

import promptopt
from promptopt.core import Belief, Duel, Example, Missing, Picture, Preference, Prompt, Streams
from promptopt.errors import ModelError, UserError
from promptopt.run.budget import Budget, Costs
from promptopt.run.recorder import Progress
from promptopt.scorers import WinRate
from promptopt.scorers.human import SAME, Human
from promptopt.scorers.human.desk import Desk
from promptopt.scorers.human.terminal import Terminal
from promptopt.scorers.human.view import Outputs, View
from promptopt.targets.function import Function
from promptopt.testing import FakeSetup
from promptopt.testing.contracts import ScorerContract

TESTS = Path(__file__).parents[2]
sys.path.insert(0, str(TESTS))

from human_parts import RED, Rounds, speaks  # noqa: E402

EXAMPLES = [Example(f"e{i}", f"question {i}", "label") for i in range(6)]


def longest(human: Human) -> Human:
    """Have the terminal answered by somebody who takes the longer text, wherever it stands."""

    def front() -> Terminal:
        desk = human._desk

        def read() -> str:
            now = desk.deal("terminal")
            assert now is not None
            a, b = (sum(len(str(part)) for row in now.view.rows for _, part in side(row)) for side in (first, second))
            return "t" if a == b else "1" if (a > b) != now.swapped else "2"

        return Terminal(desk, "?", "", lambda: None, read=read, console=Console(file=io.StringIO()))

    human._new_front = front  # type: ignore[method-assign]
    return human


def first(row: Any) -> Any:
    return row.a


def second(row: Any) -> Any:
    return row.b


class TestContract(ScorerContract):
    def make(self) -> Human:
        return longest(Human(target=Function(function=speaks), examples=EXAMPLES))


class TestContractOfTexts(ScorerContract):
    def make(self) -> Human:
        return longest(Human())


class TestContractAsRatings(ScorerContract):
    def make(self) -> WinRate:
        return WinRate(scorer=longest(Human()))


def test_it_streams() -> None:
    assert isinstance(Human(), Streams)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_examples": 0}, "n_examples is 0"),
        ({"ahead": 0}, "ahead is 0"),
        ({"second_opinions": 1.5}, "from 0 to 1"),
        ({"target": Function(function=speaks)}, "no examples"),
        ({"where": "browser", "host": "0.0.0.0"}, "public = true"),
        ({"where": "browser", "token": "short"}, "16 or more"),
    ],
)
def test_options_are_checked(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Human(**options)


# ── What is shown ─────────────────────────────────────────────────────────────────────────────────────────────────


class Table:
    """Outputs what stands in a table, and counts."""

    def __init__(self, table: dict[str, Any]) -> None:
        self.table = table
        self.ran: list[tuple[str, str]] = []

    def problem_with(self, prompt: Prompt, /) -> str | None:
        return None

    def run(self, prompt: Prompt, examples: Sequence[Example], /) -> list[Any]:
        self.ran += [(prompt.text, example.id) for example in examples]
        if isinstance(self.table[prompt.text], Exception):
            raise self.table[prompt.text]
        return [self.table[prompt.text] for _ in examples]


def view(a: Any, b: Any, classes: Sequence[str] = (), given: Any = "question") -> Any:
    target = Table({"a": a, "b": b})
    return Outputs(target, classes).view(Duel(Prompt("a"), Prompt("b")), [Example("e", given, None)])


def test_an_output_that_was_lost_speaks_for_nobody_and_is_tried_again() -> None:
    asked: list[tuple[str, str]] = []

    class Stumbles:
        """Loses what prompt b gives for the first example, once."""

        def problem_with(self, prompt: Prompt, /) -> str | None:
            return None

        def run(self, prompt: Prompt, examples: Sequence[Example], /) -> list[Any]:
            asked.extend((prompt.text, example.id) for example in examples)
            lost = asked.count(("b", "e1")) == 1
            return [
                Missing("lost") if (prompt.text, example.id) == ("b", "e1") and lost else f"{prompt.text} {example.id}"
                for example in examples
            ]

    outputs, duel = Outputs(Stumbles(), ()), Duel(Prompt("a"), Prompt("b"))
    examples = [Example("e1", "one", None), Example("e2", "two", None)]
    first = outputs.view(duel, examples)
    assert [row.b for row in first.rows] == [(("Output", "b e2"),)]
    assert not first.same
    assert [row.b for row in outputs.view(duel, examples).rows] == [(("Output", "b e1"),), (("Output", "b e2"),)]
    assert asked.count(("b", "e1")) == 2
    assert asked.count(("b", "e2")) == asked.count(("a", "e1")) == 1


def test_texts_pictures_and_nothing_are_shown() -> None:
    (row,) = view("one\ntwo", None).rows
    assert (row.given, row.a, row.b) == (
        (("Input", "question"),),
        (("Output", "one\ntwo"),),
        (("Output", "(no output)"),),
    )
    (row,) = view(Picture(RED), np.zeros((4, 4, 3), np.uint8), given={"text": "q", "n": 3}).rows
    assert row.given == (("Input, text", "q"), ("Input, n", "3"))
    assert row.a == (("Output", Picture(RED)),)
    assert row.b[0][1].data.startswith(b"\x89PNG")


def test_scores_of_a_classifier_are_shown_as_its_class() -> None:
    scores = np.log(np.array([0.2, 0.8]))
    (row,) = view(scores, scores + 7, classes=("cat", "dog")).rows
    assert row.a == (("Output", "dog (80%)"),)
    assert row.b == row.a


def test_what_looks_the_same_is_the_same() -> None:
    assert view("x", "x").same
    assert view(None, None).same
    assert not view("x", "y").same
    assert view(np.log([0.8001, 0.1999]), np.log([0.8, 0.2]), classes=("cat", "dog")).same


def test_an_output_cannot_have_a_file_read_by_naming_it(tmp_path: Path) -> None:
    file = tmp_path / "secret.png"
    file.write_bytes(RED)
    (row,) = view(str(file), "other", given=str(file)).rows
    assert row.a == (("Output", str(file)),)
    assert isinstance(row.given[0][1], Picture)


def test_each_output_is_made_once_and_equal_ones_ask_nobody() -> None:
    target = Table({"a": "x", "b": "x", "c": "y"})
    human = longest(Human(target=target, examples=EXAMPLES, n_examples=6))
    human.begin(setup := FakeSetup())
    a, b, c = (Prompt(text) for text in "abc")
    answers = list(human.answer([Duel(a, b, 0), Duel(a, c, 1), Duel(c, b, 2), Duel(b, a, 3)]))
    assert [answer.details["by"] for answer in answers] == [{}, {"terminal": "tie"}, {"terminal": "tie"}, {}]
    assert sorted(target.ran) == sorted({(text, example.id) for text in "abc" for example in EXAMPLES})
    assert setup.counts == {SAME: 2}


def test_what_cannot_be_bought_ends_the_wait() -> None:
    human = longest(Human(target=Table({"a": ModelError("no such model"), "b": "x"}), examples=EXAMPLES))
    human.begin(FakeSetup())
    human.open([Duel(Prompt("a"), Prompt("b"), 0)], lambda question, answer: None)
    with pytest.raises(ModelError, match="no such model"):
        human.wait()


# ── The terminal ──────────────────────────────────────────────────────────────────────────────────────────────────


def sit(keys: str, *, width: int = 100, view: View | None = None) -> tuple[list[Preference], list[bool], str]:
    """What is recorded, returned and shown when these keys are pressed."""
    desk = Desk(rng=np.random.default_rng)
    recorded: list[Preference] = []
    desk.record = lambda duel, preference: recorded.append(preference)
    for number in range(8):
        duel = Duel(Prompt(f"alpha {number}"), Prompt(f"beta {number}"), number)
        desk.ready(desk.put(duel), view or View.of_texts(duel))
    out = io.StringIO()
    left = iter([*keys, ""])
    terminal = Terminal(
        desk,
        "Which?",
        "The context.",
        lambda: None,
        read=lambda: next(left),
        console=Console(file=out, width=width, color_system=None),
    )
    returned = [terminal.attend()]
    while returned[-1]:
        returned.append(terminal.attend())
    terminal.close()
    return recorded, returned, out.getvalue()


def test_one_key_each() -> None:
    recorded, returned, said = sit("12tsq")
    swapped = [preference.details["swapped"]["terminal"] for preference in recorded]
    assert [p.winner for p in recorded] == ["b" if swapped[0] else "a", "a" if swapped[1] else "b", "tie", "unknown"]
    assert returned == [True, True, True, True, False]
    assert "Which?" in said
    assert "The context." in said


def test_the_terminal_tells_nothing_of_what_the_search_thinks() -> None:
    """Whoever knows the best so far is led by it."""
    desk, out = Desk(rng=np.random.default_rng), io.StringIO()
    duel = Duel(Prompt("alpha"), Prompt("beta"), 0)
    desk.ready(desk.put(duel), View.of_texts(duel))
    now = Progress(Prompt("omega"), None, Costs(), Budget(questions=7), (), Belief(0.63, 12))
    console = Console(file=out, width=100, color_system=None)
    Terminal(desk, "Which?", "", lambda: now, read=lambda: "q", console=console).attend()
    assert "0 answered of 7" in out.getvalue()
    assert not {"omega", "best", "63", "12"} & set(out.getvalue().lower().replace("%", " ").split())


def test_replies_to_a_query_stand_below_it() -> None:
    origin = {"query": "Why is the sky blue?"}
    a, b = (Prompt(f"Why is the sky blue?\n\n{reply}", origin) for reply in ("Because.", "Air\n\nscatters."))
    (row,) = View.of_texts(Duel(a, b)).rows
    assert row.given == (("Query", "Why is the sky blue?"),)
    assert (row.a, row.b) == ((("Reply", "Because."),), (("Reply", "Air\n\nscatters."),))
    (row,) = View.of_texts(Duel(a, Prompt("another"))).rows
    assert row.given == ()


def test_undo_at_the_terminal() -> None:
    recorded, _, said = sit("uttuu1")
    assert "nothing to undo" in said
    assert len(recorded) == 3
    assert [p.winner for p in recorded[:2]] == ["tie", "tie"]
    assert recorded[2].winner in "ab"
    assert said.count("alpha 0") == 2


def test_outputs_stand_side_by_side_or_one_below_the_other() -> None:
    wide, narrow = sit("q", width=100)[2], sit("q", width=50)[2]
    assert any("1 left" in line and "2 right" in line for line in wide.splitlines())
    assert not any("1 left" in line and "2 right" in line for line in narrow.splitlines())
    assert "2 right" in narrow


def test_a_terminal_acts_on_nothing_that_an_output_holds() -> None:
    duel = Duel(Prompt("[red]\x1b[2Jgone"), Prompt("b"))
    _, _, said = sit("q", view=View.of_texts(duel))
    assert "\x1b[2J" not in said
    assert "[red]\\x1b[2Jgone" in said


def run_piped(folder: Path, typed: str, questions: int = 6) -> subprocess.CompletedProcess[str]:
    code = (
        "import sys, promptopt; from human_parts import Rounds; from promptopt.scorers.human import Human;"
        f"result = promptopt.optimize(start='alpha', optimizer=Rounds(), scorer=Human(second_opinions=0),"
        f"budget={questions}, run={str(folder)!r}); print(result.stop_reason, result.costs.questions)"
    )
    env = {**os.environ, "PYTHONPATH": str(TESTS)}
    return subprocess.run(
        [sys.executable, "-c", code], input=typed, capture_output=True, text=True, env=env, timeout=60, check=False
    )


def answers(folder: Path) -> list[dict[str, Any]]:
    events = map(json.loads, (folder / "ledger.jsonl").read_text(encoding="utf-8").splitlines())
    return [event for event in events if event["event"] == "answer"]


def test_a_stopped_session_goes_on_where_it_was(tmp_path: Path) -> None:
    """The fifth duel is skipped, which costs nothing: a budget of six has a seventh."""
    whole = run_piped(tmp_path / "whole", "1\nleft\n2\nt\ns\n1\n2\n")
    assert whole.stdout == "budget: questions 6\n", whole.stderr
    part = run_piped(tmp_path / "part", "1\nleft\nq\n")
    assert part.stdout == "stopped 2\n", part.stderr
    rest = run_piped(tmp_path / "part", "2\nt\ns\nq\n")
    assert rest.stdout == "stopped 4\n", rest.stderr
    rest = run_piped(tmp_path / "part", "1\n2\n")
    assert rest.stdout == "budget: questions 6\n", rest.stderr
    keys = ("n", "a", "b", "winner")
    one, other = ([[event[k] for k in keys] for event in answers(tmp_path / name)] for name in ("whole", "part"))
    assert one == other
    assert len(one) == 7
    assert answers(tmp_path / "part")[0]["details"]["by"].keys() == {"terminal"}


def test_the_end_of_the_input_stops(tmp_path: Path) -> None:
    assert run_piped(tmp_path / "run", "1\n").stdout == "stopped 1\n"


def test_ctrl_c_leaves_the_terminal_as_it_was(tmp_path: Path) -> None:
    code = (
        "import promptopt; from human_parts import Rounds; from promptopt.scorers.human import Human;"
        f"print('ended:', promptopt.optimize(start='alpha', optimizer=Rounds(), scorer=Human(), budget=9,"
        f"run={str(tmp_path / 'run')!r}).stop_reason, flush=True)"
    )
    main, sub = pty.openpty()
    before = termios.tcgetattr(sub)
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=sub,
        stdout=sub,
        stderr=sub,
        env={**os.environ, "PYTHONPATH": str(TESTS), "TERM": "xterm"},
        start_new_session=True,
    )
    seen = wait_for(main, "q stop")
    press(main, sub, b"\x1b[D")  # the left arrow
    seen = wait_for(main, "q stop")
    assert "1 answered" in seen
    press(main, sub, b"\x03")
    assert "ended: interrupted" in wait_for(main, "ended: interrupted")
    assert process.wait(20) == 0
    assert termios.tcgetattr(sub) == before
    assert len(answers(tmp_path / "run")) == 1


def press(main: int, sub: int, key: bytes) -> None:
    """Press a key once the terminal waits for one, and not for a line."""
    until = time.monotonic() + 30
    while termios.tcgetattr(sub)[3] & termios.ICANON:
        assert time.monotonic() < until
        time.sleep(0.01)
    os.write(main, key)


def wait_for(terminal: int, text: str, seconds: float = 30) -> str:
    """What a terminal shows until a text appears."""
    seen, until = "", time.monotonic() + seconds
    while text not in seen:
        assert time.monotonic() < until, seen
        if select.select([terminal], [], [], 0.2)[0]:
            seen += os.read(terminal, 100_000).decode(errors="replace")
    return seen


# ── Runs ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_run_ends_when_its_budget_does_and_closes_the_desk(tmp_path: Path) -> None:
    human = longest(Human(second_opinions=0))
    result = promptopt.optimize(start="alpha", optimizer=Rounds(), scorer=human, budget=10, run=tmp_path / "run")
    assert result.stop_reason == "budget: questions"
    assert result.best == "epsilon"
    assert human._desk.closed
    assert len(answers(tmp_path / "run")) == 10


def test_a_desk_that_rates_is_closed_too(tmp_path: Path) -> None:
    """``win-rate`` around people is no stream, and has to let go of the page all the same."""
    human = longest(Human(second_opinions=0))
    scorer = WinRate(scorer=human, repeats=2)
    promptopt.optimize(
        start="alpha",
        optimizer={"name": "random-search", "pool": {"name": "list", "prompts": ["longest"]}},
        scorer=scorer,
        budget=2,
        run=None,
    )
    assert human._desk.closed


def test_a_desk_is_closed_when_the_optimizer_cannot_begin() -> None:
    class Broken(Rounds):
        def begin(self, setup: Any, /) -> None:
            raise UserError("nothing to start from")

    human = Human()
    with pytest.raises(UserError, match="nothing to start from"):
        promptopt.optimize(start="alpha", optimizer=Broken(), scorer=human, budget=2, run=None)
    assert human._desk.closed


def test_a_newcomer_wakes_the_run() -> None:
    human = Human(where="browser")
    human.begin(FakeSetup())
    human.open([Duel(Prompt("a"), Prompt("b"), 0)], lambda question, answer: None)
    human._front = Quiet(human._desk)
    woken: list[bool] = []
    thread = threading.Thread(target=lambda: woken.append(human.wait()))
    thread.start()
    for i in range(3):
        human._desk.deal(f"n{i}")
    thread.join(10)
    assert woken == [True]
    assert human.ahead == 6


class Quiet:
    """A front that waits for what others do at the desk."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk

    def start(self) -> None:
        pass

    def attend(self) -> bool:
        return self.desk.changed.wait(10)

    def close(self) -> None:
        pass
