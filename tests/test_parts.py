"""Prompts of several parts: nothing is lost between text and parts, and what is frozen stays, whatever searches."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import promptopt
from promptopt import Example, Preference, Prompt, Rate, Rating, UserError
from promptopt.api import prepare
from promptopt.core import Message, Setup
from promptopt.optimizers import HillClimb, LexicalProposer, PartByPart, Racing
from promptopt.parts import changed, changes, parts_of, problem_with, text_of
from promptopt.recipe.read import read_recipe
from promptopt.targets.clip import Clip
from promptopt.testing import ScriptedModel

ATOMS = [
    "=== a ===",
    "=== rules ===",
    "===",
    "\\",
    "\n",
    "\n\n",
    "\r",
    "\r\n",
    "\0",
    '"',
    "'",
    "{}",
    "{x}",
    "# h",
    "```",
]
ATOMS += ["é", "🙂", "\u2028", "\x85", "\ud800", " ", "a"]
NAMES = st.sampled_from(["a", "rules", "b-2", "ünï_1", "A"])
TEXTS = st.one_of(st.text(), st.lists(st.sampled_from(ATOMS)).map("".join))
RULES = 'Never lie.\n=== system ===\n\\=== {"a": 1} ===\r\n'
START = {"rules": RULES, "instruction": "Answer the question."}
PHRASES = ["Be brief.", "Think first.", "Name the fruit.", "Use capitals.", "Say why."]
LISTED = {"name": "list", "prompts": PHRASES}


# ── Text and parts ────────────────────────────────────────────────────────────────────────────────────────────────


def test_reads_well() -> None:
    assert text_of({"system": "You help.\nKindly.", "rules": "", "instruction": "Go."}) == (
        "=== system ===\nYou help.\nKindly.\n\n=== rules ===\n\n\n=== instruction ===\nGo."
    )


@settings(max_examples=100)
@given(st.dictionaries(NAMES, TEXTS, min_size=1, max_size=4))
def test_nothing_is_lost(parts: dict[str, str]) -> None:
    text = text_of(parts)
    assert parts_of(text) == parts
    assert list(parts_of(text)) == list(parts)


@settings(max_examples=100)
@given(TEXTS)
def test_a_text_that_is_read_as_parts_is_what_they_are_written_as(rest: str) -> None:
    for text in (rest, f"=== a ===\n{rest}"):
        assert not parts_of(text) or text_of(parts_of(text)) == text


def test_ten_thousand_parts_come_back() -> None:
    rng, written = random.Random(0), 0
    while written < 10_000:
        parts = {name: "".join(rng.choices(ATOMS, k=rng.randint(0, 8))) for name in ("a", "rules", "b-2", "ünï")}
        assert parts_of(text_of(parts)) == parts
        written += len(parts)


@pytest.mark.parametrize(
    "text",
    ["", "a", "=== a ===", "=== a ===\nx\n=== b ===\ny", "=== a ===\n\n=== a ===\n", "\n=== a ===\n", "=== 1 ===\n"],
)
def test_any_other_text_is_one_text(text: str) -> None:
    assert parts_of(text) == {}


@pytest.mark.parametrize("name", ["", "a b", "1", "_a", "a\n", "==="])
def test_names_are_words(name: str) -> None:
    with pytest.raises(UserError, match="cannot be the name of a part"):
        text_of({name: "x"})


def test_differences_go_part_by_part() -> None:
    old, new = text_of({"a": "one two", "b": "two three"}), text_of({"a": "one", "b": "two two three"})
    pieces = changes(old, new)
    assert "".join(piece for kind, piece in pieces if kind != "lost") == new
    assert [(kind, piece.strip()) for kind, piece in pieces if kind != "same"] == [("lost", "two"), ("new", "two")]
    assert changes("a b", "a c") == [("same", "a"), ("lost", " b"), ("new", " c")]
    assert changed(old, text_of({"a": "one two", "b": "x"})) == "=== b ===\nx"
    assert (changed(old, old), changed("a", "b")) == (old, "b")


def test_says_what_is_wrong_with_a_prompt() -> None:
    start = text_of({"a": "one", "b": "two"})
    assert problem_with(text_of({"a": "one", "b": ""}), start=start, frozen=["a"]) is None
    assert problem_with(text_of({"a": "x", "b": "two"}), start=start, frozen=["a"]) == (
        "it changes the part a, which the recipe keeps frozen."
    )
    assert problem_with("one", start=start) == "it has no parts, and the start has the parts a, b."
    assert problem_with(text_of({"b": "two", "a": "one"}), start=start) is not None
    assert problem_with(start, start="one") == "it has the parts a, b, and the start has no parts."
    assert problem_with("two", start="one") is None


# ── Thirteen searches, and no change of what is frozen ───────────────────────────────────────────────────────────────


def score(parts: Mapping[str, str]) -> float:
    """How many of the phrases are there: what every search here can raise."""
    assert list(parts) == list(START)
    return sum(phrase in parts["instruction"] for phrase in PHRASES) - len(parts["instruction"]) / 1000


class Prefers:
    """Prefers what is scored higher."""

    question = promptopt.Duel

    def answer(self, questions: Sequence[promptopt.Duel], /) -> list[Preference]:
        scores = [[score(parts_of(prompt.text)) for prompt in (one.a, one.b)] for one in questions]
        return [Preference("a" if a > b else "b" if b > a else "tie") for a, b in scores]


def rewriter(messages: Sequence[Message]) -> str:
    """An LLM that writes the frozen part anew as well."""
    phrase = PHRASES[len(messages[-1].text) % len(PHRASES)]
    whole = text_of({"rules": "Lie.", "instruction": phrase})
    return f'["{phrase} Answer.", {json.dumps(whole)}, "rules: lie"]'


def reflecting(messages: Sequence[Message]) -> str:
    """As :func:`rewriter`, one prompt at a time."""
    new, whole, _ = json.loads(rewriter(messages))
    return f"```\n{whole if len(messages[-1].text) % 2 else new}\n```"


def tagged(messages: Sequence[Message]) -> str:
    """The same between tags."""
    return reflecting(messages).replace("```\n", "<prompt>").replace("\n```", "</prompt>")


def searches() -> dict[str, Any]:
    lexical = {"name": "lexical", "phrases": PHRASES}
    chat = {"name": "chat", "model": ScriptedModel(rewriter)}
    climb = {"name": "hill-climb", "restarts": 1, "resets": 1, "iterations": 3, "per_call": 4}
    return {
        "random-search": {"name": "random-search", "pool": LISTED},
        "bayes": {"name": "bayes", "phrases": PHRASES, "design": 6, "candidates": 20},
        "lexical": {**climb, "proposer": lexical},
        "chat": {**climb, "proposer": chat},
        "racing": {"name": "racing", "optimizer": {**climb, "proposer": lexical}, "examples": [Example("e", "", "")]},
        "part-by-part": {"name": "part-by-part", "turn": 3, "optimizer": {**climb, "proposer": chat}},
        "random-duel": {"name": "random-duel", "pool": LISTED},
        "linear-duel": {"name": "linear-duel", "pool": LISTED},
        "double-ts": {"name": "double-ts", "pool": LISTED},
        "protegi": {"name": "protegi", "model": ScriptedModel(rewriter), "examples": [Example("e", "", "")]},
        "gepa": {"name": "gepa", "model": ScriptedModel(reflecting), "examples": [Example("e", "", "")]},
        "paraphrases": {"name": "random-search", "pool": {"name": "paraphrases", "model": ScriptedModel(rewriter)}},
    }


@pytest.mark.parametrize("name", searches())
def test_no_search_changes_what_is_frozen(name: str) -> None:
    duels = name in ("random-duel", "linear-duel", "double-ts")
    how: dict[str, Any] = {"scorer": Prefers()} if duels else {"score": score}
    result = promptopt.optimize(
        start=START, frozen=["rules"], optimizer=searches()[name], budget=25, run=None, watch=False, **how
    )
    asked = [prompt for step in result.steps for prompt in prompts_of(step.question)]
    assert len({prompt.text for prompt in asked}) > 2
    assert {parts_of(prompt.text)["rules"] for prompt in asked} == {RULES}
    assert result.parts["rules"] == RULES
    assert not result.counts
    assert score(result.parts) > score(START)


def prompts_of(question: Any) -> list[Prompt]:
    return [question.prompt] if isinstance(question, Rate) else [question.a, question.b]


class Rogue:
    """Asks about prompts as it likes, and holds best what it likes."""

    question = Rate
    knows_parts = True

    def begin(self, setup: Setup, /) -> None:
        good = text_of({**START, "instruction": "Be brief."})
        self.left = [[setup.start[0], Prompt("Be brief."), Prompt(text_of({**START, "rules": "Lie."}))], [Prompt(good)]]

    def ask(self) -> list[Rate]:
        return [Rate(prompt) for prompt in self.left.pop(0)] if self.left else []

    def tell(self, answered: Sequence[tuple[Rate, Rating]], /) -> None: ...

    def best(self) -> Prompt:
        return Prompt(text_of({**START, "rules": "Lie."}))


def test_the_run_itself_refuses_what_changes_a_frozen_part() -> None:
    result = promptopt.optimize(
        start=START, frozen=["rules"], optimizer=Rogue(), score=score, budget=9, run=None, watch=False
    )
    assert [step.question.prompt.text for step in result.steps] == [  # type: ignore[union-attr]
        text_of(START),
        text_of({**START, "instruction": "Be brief."}),
    ]
    assert result.parts == {**START, "instruction": "Be brief."}
    assert result.counts == {
        "prompts not asked about: it has no parts, and the start has the parts rules, instruction": 1,
        "prompts not asked about: it changes the part rules, which the recipe keeps frozen": 1,
    }


class Tempter(Rogue):
    """Where prompts are one text, asks about one of parts."""

    def begin(self, setup: Setup, /) -> None:
        self.left = [[setup.start[0], Prompt(text_of(START))]]

    def best(self) -> Prompt:
        return Prompt("Answer.")


def test_a_search_that_begins_with_one_text_never_comes_to_parts() -> None:
    seen: list[Any] = []
    result = promptopt.optimize(
        start="Answer.",
        optimizer=Tempter(),
        score=lambda text: seen.append(text) or 1.0,
        budget=9,
        run=None,
        watch=False,
    )
    assert (seen, result.parts) == (["Answer."], {})


# ── In recipes and from Python ────────────────────────────────────────────────────────────────────────────────────


def search(**changes: Any) -> promptopt.Result:
    recipe = {"start": START, "score": score, "optimizer": {"name": "bayes", "phrases": PHRASES}, "budget": 12}
    return promptopt.optimize(**{"run": None, "watch": False, **recipe, **changes})


def test_one_free_part_is_searched_as_if_it_were_the_prompt() -> None:
    """The same seed asks the same about the part as about a prompt that is that text alone."""
    how: dict[str, Any] = {"optimizer": searches()["bayes"], "budget": 25}
    whole = search(frozen=["rules"], **how)
    alone = search(start=START["instruction"], score=lambda text: score({**START, "instruction": text}), **how)
    questions = [[step.question.prompt.text for step in one.steps] for one in (whole, alone)]  # type: ignore[union-attr]
    assert [parts_of(text)["instruction"] for text in questions[0]] == questions[1]
    assert len(questions[1]) > 20
    assert whole.parts["instruction"] == alone.best


def test_a_recipe_has_a_table_of_parts(tmp_path: Path) -> None:
    file = tmp_path / "r.toml"
    file.write_text(
        'frozen = ["rules"]\nbudget = 12\n[start]\nrules = """\nNever lie.\n"""\ninstruction = "Answer."\n'
        '[optimizer]\nname = "bayes"\nphrases = ["Be brief."]\n'
    )
    recipe = read_recipe(file, ["start.instruction=Go on."])
    result = promptopt.optimize(
        **recipe, score=lambda parts: len(parts["instruction"]), run=tmp_path / "run", watch=False
    )
    assert result.start == "=== rules ===\nNever lie.\n\n\n=== instruction ===\nGo on."
    assert (tmp_path / "run" / "best.txt").read_text() == result.best + "\n"
    assert result.parts["rules"] == "Never lie.\n"
    again = promptopt.resume(tmp_path / "run", score=lambda parts: 1 / 0, watch=False)
    assert (again.best, again.costs.questions) == (result.best, result.costs.questions)


def test_the_text_of_parts_may_be_given_back_as_the_start() -> None:
    assert search(start=text_of(START), frozen=["rules"]).start == text_of(START)


def test_several_starts_are_all_rated_and_the_best_is_gone_on_from() -> None:
    starts = [{"system": "a", "instruction": "b"}, {"instruction": "long text", "system": "c"}]
    seen: list[dict[str, str]] = []

    def longest(parts: dict[str, str]) -> float:
        seen.append(parts)
        return float("long" in parts["instruction"])

    result = search(start=starts, score=longest, budget=8)
    assert seen[:2] == [starts[0], {"system": "c", "instruction": "long text"}]
    assert all(one["instruction"] == "long text" for one in seen[2:])
    assert result.start == text_of(starts[0])


BAD: list[tuple[dict[str, Any], str]] = [
    ({"frozen": ["rulez"]}, "frozen: unknown part 'rulez'. Did you mean 'rules'? Allowed: instruction, rules."),
    (
        {"start": "Answer.", "frozen": ["rules"]},
        "frozen names parts, and start is one text; give start as a table of parts.",
    ),
    (
        {"frozen": ["rules", "instruction"]},
        "frozen names the parts rules, instruction, which is all there is; leave out what the search may change.",
    ),
    (
        {"start": [START, {"rules": RULES}]},
        "the starting prompts have the parts rules, instruction and the part rules; give all the same parts.",
    ),
    (
        {"start": [START, {**START, "rules": "Lie."}], "frozen": ["rules"]},
        "frozen: the starting prompts differ in the part rules; give all the same text there.",
    ),
    (
        {"start": None, "frozen": ["rules"]},
        "frozen names parts, and there is no start; give start as a table of parts.",
    ),
    ({"start": {}}, 'a prompt of parts has none; give one or more, for example instruction = "...".'),
    ({"start": []}, 'start is empty; give the prompt that you use today, for example start = "a photo of a {}".'),
    ({"start": {"a": 3}}, "recipe.start is {'a': 3}. Input should be a valid string."),
    (
        {"score": None, "scorer": Prefers(), "optimizer": {"name": "random-duel", "pool": LISTED}},
        "RandomDuels asks duels and searches one text; the start has the parts rules, instruction to change. Keep all "
        "but one of them as they are: frozen = [...].",
    ),
    (
        {"ensemble": 2, "frozen": ["rules"]},
        "ensemble needs a target that takes several lines as one prompt: it has no parts, and the start has the parts "
        "rules, instruction.",
    ),
]


@pytest.mark.parametrize(("given", "said"), BAD, ids=range(len(BAD)))
def test_bad_input_is_one_sentence_or_two(given: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError) as error:
        search(**given)
    assert str(error.value) == said


DATA = [(word, word) for word in ("a", "b", "c", "d")]
MODEL = ScriptedModel(lambda messages: "a")


@pytest.mark.parametrize(
    "target",
    [
        {"name": "local-lm", "model": str(Path(promptopt.__file__).parent / "embedded" / "lm")},
        {"name": "http", "url": "http://127.0.0.1:9/", "body": {"text": "{prompt} {input}"}, "output": "text"},
        {"name": "vlm", "model": MODEL},
        {"name": "pictures", "target": {"name": "chat", "model": MODEL}},
    ],
    ids=lambda table: table["name"],
)
def test_other_targets_say_that_they_take_one_text(target: dict[str, Any]) -> None:
    pictures = [(np.full((2, 2), i, np.uint8), "ab"[i % 2]) for i in range(8)]
    with pytest.raises(UserError, match=r"^target: \w+ takes a prompt that is one text, and the start has the parts r"):
        search(score=None, target=target, data=pictures if target["name"] == "vlm" else DATA, metric="exact-match")


def test_clip_takes_one_text() -> None:
    assert not hasattr(Clip, "takes_parts")  # to build one takes seconds


def test_chat_says_which_parts_it_takes() -> None:
    chat = {"name": "chat", "model": MODEL}
    start = {"sytem": "You help.", "instruction": "Answer."}
    with pytest.raises(UserError) as error:
        search(start=start, score=None, target=chat, data=DATA)
    assert str(error.value) == (
        "start, for target: unknown part 'sytem'. Did you mean 'system'? Allowed: demonstrations, instruction, system."
    )


def test_a_target_of_transfer_is_asked_too() -> None:
    with pytest.raises(UserError, match=r"transfer.other: unknown part 'rules'"):
        search(
            target=lambda parts, example: "a",
            score=None,
            data=DATA,
            transfer={"other": {"name": "chat", "model": MODEL}},
        )


def test_a_function_as_target_gets_the_parts() -> None:
    seen: list[Any] = []

    def target(parts: dict[str, str], example: Example) -> str:
        seen.append(parts)
        return str(example.input) if "Be brief." in parts["instruction"] else ""

    result = search(target=target, score=None, data=DATA, frozen=["rules"])
    assert seen[0] == START
    assert result.verdict is not None
    assert (result.verdict.start, result.verdict.best) == (0.0, 1.0)


def test_racing_goes_around_the_turns() -> None:
    """So that a race never ends in the middle of a turn; the user's own object stays as it is."""
    data = [(f"word {i}", f"word {i}") for i in range(24)]
    climb = HillClimb(proposer=LexicalProposer(phrases=PHRASES), restarts=1, resets=1, iterations=9, per_call=4)
    racing = Racing(optimizer=climb, examples=[Example(f"list/{i}", *data[i]) for i in range(24)], minibatch=3)
    recipe = {"start": START, "target": lambda parts, example: "", "data": data, "optimizer": racing, "metric": "match"}
    plan = prepare(recipe)
    assert isinstance(plan.optimizer, Racing)
    assert isinstance(plan.optimizer.optimizer, PartByPart)
    assert plan.searcher == "Racing"
    assert racing.optimizer is climb

    def target(parts: dict[str, str], example: Example) -> str:
        helps = ("Be brief." in parts["rules"]) + 2 * ("Think first." in parts["instruction"])
        return str(example.input) if int(example.input[5:]) % 6 < 3 + helps else ""

    raced = {"name": "racing", "minibatch": 3, "optimizer": climb}
    result = search(target=target, score=None, data=data, optimizer=raced, budget=120)
    minibatches = {len(step.question.on) for step in result.steps}  # type: ignore[union-attr]
    assert len(minibatches) > 1
    assert {step.question.prompt.origin.get("part") for step in result.steps} >= {"rules", "instruction"}  # type: ignore[union-attr]
    assert result.score(result.best) is not None
    assert "Think first." in result.parts["instruction"]
