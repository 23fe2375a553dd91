"""A chat model as the target."""

from __future__ import annotations

import math
import random
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from promptopt.core import (
    Choice,
    Completion,
    Example,
    Failed,
    Message,
    Missing,
    Prompt,
    Rate,
    Rating,
    Reply,
    Request,
    Setup,
    Usage,
)
from promptopt.demonstrations import Demonstration
from promptopt.demonstrations import text_of as text_of_demonstrations
from promptopt.errors import BudgetExhausted, ModelError, Rejected, Unanswered, UnknownName, UserError
from promptopt.optimizers import RandomSearch
from promptopt.optimizers.pools.listed import ListPool
from promptopt.parts import text_of
from promptopt.recipe.build import call
from promptopt.record.ledger import Ledger
from promptopt.run.budget import Budget
from promptopt.run.loop import Run
from promptopt.targets.chat import ChatTarget
from promptopt.testing import FakeSetup, ScriptedModel
from promptopt.testing.contracts import TargetContract

EXAMPLES = [Example(f"e/{i}", f"input {i}", f"label {i}") for i in range(6)]
P = Prompt("Answer.")


def echo(messages: Sequence[Message]) -> str:
    return messages[-1].text.upper()


class Choosing(ScriptedModel):
    """Finds all replies equally likely."""

    def choose(self, messages: Sequence[Message], options: Sequence[str], /) -> Choice:
        return Choice((0.0,) * len(options))

    def at_most_to_choose(self, messages: Sequence[Message], options: Sequence[str], /) -> Usage:
        return Usage(1)


def begun(replies: Any = echo, *, seed: int = 0, **options: Any) -> tuple[ChatTarget, ScriptedModel, FakeSetup]:
    model, setup = ScriptedModel(replies), FakeSetup(seed=seed)
    target = ChatTarget(model=model, **options)
    target.begin(setup)
    return target, model, setup


class TestChatTarget(TargetContract):
    prompts = ("Answer.", "Answer in capitals.")
    bad_prompts = ("", " \n")

    def make(self) -> ChatTarget:
        return ChatTarget(model=ScriptedModel(echo), demonstrations=2, examples=EXAMPLES)

    def examples(self) -> Sequence[Example]:
        return EXAMPLES


class TestChatTargetThatShowsWhatIsNamed(TestChatTarget):
    def make(self) -> ChatTarget:
        return ChatTarget(model=ScriptedModel(echo), examples=EXAMPLES)


# ── What is sent ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_prompt_and_input_in_one_message() -> None:
    target, model, setup = begun()
    assert target.run(P, EXAMPLES[:1]) == ["ANSWER.\n\nINPUT: INPUT 0\nOUTPUT:"]
    [call] = model.calls
    assert call.messages == (Message("user", "Answer.\n\nInput: input 0\nOutput:"),)
    assert (call.n, call.temperature, setup.roles) == (1, 0.0, ["target"])


def test_a_template_without_the_prompt_sends_it_as_the_system_message() -> None:
    target, _, _ = begun(template="Q: {question}")
    asked = Example("e", {"question": "Why {prompt}?"}, "y")
    assert target.messages(P, asked) == [Message("system", "Answer."), Message("user", "Q: Why {prompt}?")]


def parts(**given: str) -> Prompt:
    return Prompt(text_of(given))


def test_the_parts_of_a_prompt() -> None:
    target, _, _ = begun()
    whole = parts(system="You help.", instruction="Answer {input}.", demonstrations="")
    assert target.messages(whole, EXAMPLES[0]) == [
        Message("system", "You help."),
        Message("user", "Answer {input}.\n\nInput: input 0\nOutput:"),
    ]
    assert target.messages(parts(instruction="Answer.", system=""), EXAMPLES[0]) == target.messages(P, EXAMPLES[0])
    assert target.messages(parts(system="You help."), EXAMPLES[0]) == [
        Message("system", "You help."),
        Message("user", "Input: input 0\nOutput:"),
    ]
    below, _, _ = begun(template="{input}")
    assert below.messages(whole, EXAMPLES[0]) == [
        Message("system", "You help.\n\nAnswer {input}."),
        Message("user", "input 0"),
    ]


def test_what_is_wrong_with_parts() -> None:
    target, _, _ = begun(demonstrations=2, examples=EXAMPLES)
    assert target.problem_with(parts(system="", instruction=" \n", demonstrations="")) is not None
    assert target.problem_with(parts(system="You help.", instruction="", demonstrations="")) is None
    assert target.problem_with(parts(instruction="Answer.", demonstrations="e/1")) == (
        "the target shows 2 demonstrations already; leave them out, or that part."
    )


@pytest.mark.parametrize(
    ("named", "said"),
    [
        ("e/1\n\n e/3 ", None),
        ('e/1: "so: 1"', None),
        ("e/9", "demonstrations names 'e/9', which is no training example; name ids of the training split."),
        ("e/1\ne/2\ne/1", "demonstrations names 'e/1' twice; name each example once."),
        ("Input: a\nOutput: b", "demonstrations has the line 'Input: a'; a line is the id of a training example"),
        ('e/1: "\\x"', "has the line"),
    ],
)
def test_what_is_wrong_with_named_demonstrations(named: str, said: str | None) -> None:
    target, _, _ = begun(examples=EXAMPLES)
    found = target.problem_with(parts(instruction="Answer.", demonstrations=named))
    assert found is None if said is None else said in (found or "")


def test_named_demonstrations_are_turns_in_their_order() -> None:
    target, _, _ = begun(examples=EXAMPLES, template="{prompt} {input}")
    named = parts(system="You help.", instruction="Say.", demonstrations='e/3\ne/1: "It is 1, so:\\nlabel 1"')
    assert target.messages(named, EXAMPLES[0]) == [
        Message("system", "You help."),
        Message("user", "Say. input 3"),
        Message("assistant", "label 3"),
        Message("user", "Say. input 1"),
        Message("assistant", "It is 1, so:\nlabel 1"),
        Message("user", "Say. input 0"),
    ]


def test_what_is_asked_is_never_among_the_demonstrations() -> None:
    rng = random.Random(0)
    twins = [*EXAMPLES, Example("twin", "input 0", "label 0")]
    target, _, _ = begun(examples=twins, template="{input}")
    for _ in range(200):
        ids = [e.id for e in rng.sample(twins, rng.randint(0, len(twins)))]
        lines = [Demonstration(one, rng.choice([None, "my own"])) for one in ids]
        prompt = parts(instruction="Say.", demonstrations=text_of_demonstrations(lines))
        for asked in [*twins, Example("new", "new", "new")]:
            _, *shown, last = target.messages(prompt, asked)
            inputs = [message.text for message in shown if message.role == "user"]
            assert last.text == asked.input not in inputs
            assert inputs == [
                f"input {one}"
                for one in (0 if i == "twin" else int(i[2:]) for i in ids)
                if f"input {one}" != asked.input
            ]


def test_a_demonstration_shows_the_word_that_is_chosen_among() -> None:
    examples = [Example("a", "x", "yes"), Example("b", "y", "no"), Example("c", "z", "no")]
    labels = {"yes": "Yes", "no": ["No", "Never"]}
    options: dict[str, Any] = {"answers": "likelihood", "labels": labels, "examples": examples}
    target = ChatTarget(model=Choosing(echo), **options)
    turns = target.messages(parts(instruction="Is it?", demonstrations="b\na"), examples[2])
    assert [turn.text for turn in turns if turn.role == "assistant"] == ["No", "Yes"]


def test_demonstrations_are_turns_and_never_what_is_asked() -> None:
    target, _, _ = begun(demonstrations=3, examples=EXAMPLES, template="{prompt} {input}")
    for asked in EXAMPLES:
        *shown, last = target.messages(P, asked)
        assert last == Message("user", f"Answer. {asked.input}")
        assert [message.role for message in shown] == ["user", "assistant"] * 3
        assert not any(asked.input in message.text for message in shown)
        for question, answer in zip(shown[::2], shown[1::2], strict=True):
            assert question.text.rpartition(" ")[2] == answer.text.rpartition(" ")[2]


def test_an_example_with_the_same_input_is_not_shown_either() -> None:
    twins = [*EXAMPLES, Example("twin", "input 0", "label 0")]
    target, _, _ = begun(demonstrations=5, examples=twins)
    assert not any("input 0" in message.text for message in target.messages(P, EXAMPLES[0])[:-1])


def test_demonstrations_depend_on_the_seed_alone() -> None:
    def shown(seed: int, setup_seed: int) -> list[Message]:
        target, _, _ = begun(demonstrations=3, examples=EXAMPLES, seed=setup_seed)
        other = ChatTarget(model=ScriptedModel(echo), demonstrations=3, examples=EXAMPLES, seed=seed)
        assert target.messages(P, EXAMPLES[0]) == ChatTarget(
            model=ScriptedModel(echo), demonstrations=3, examples=EXAMPLES
        ).messages(P, EXAMPLES[0])
        return other.messages(P, Example("new", "new", "new"))

    assert shown(0, 0) == shown(0, 5)
    assert len({str(shown(seed, 0)) for seed in range(4)}) > 1


def test_the_first_of_several_labels_is_shown() -> None:
    examples = [Example("a", "pig", ("big", "dig")), Example("b", "cat", ["hat", "bat"]), Example("c", "one", 1)]
    target, _, _ = begun(demonstrations=2, examples=examples)
    answers = {m.text for e in examples for m in target.messages(P, e) if m.role == "assistant"}
    assert answers == {"big", "hat", "1"}


def test_every_call_has_a_seed_of_its_own_that_order_and_threads_do_not_change() -> None:
    def seeds(order: Sequence[Example], workers: int, seed: int = 0) -> dict[str, int | None]:
        target, model, _ = begun(workers=workers, seed=seed)
        list(target.run_batch([P, Prompt("Other.")], order))
        return {call.messages[0].text: call.seed for call in model.calls}

    first = seeds(EXAMPLES, 1)
    assert first == seeds(EXAMPLES[::-1], 4)
    assert len(set(first.values())) == 12
    assert first != seeds(EXAMPLES, 1, seed=1)


# ── What comes back ───────────────────────────────────────────────────────────────────────────────────────────────


def test_refused_empty_and_truncated_replies_are_counted_and_failed() -> None:
    script = [
        Reply("yes"),
        Reply("I may not", "refusal"),
        Reply(" \n"),
        Reply("The ans", "length"),
        Reply("", "length"),
    ]
    target, _, setup = begun(script, workers=1)
    cut = "cut at max_tokens = 1024"
    assert target.run(P, EXAMPLES[:5]) == [
        "yes",
        Failed("refused", "I may not"),
        Failed("empty"),
        Failed(cut, "The ans", cut=True),
        Failed(cut, cut=True),
    ]
    assert setup.counts == {"refused replies": 1, "empty replies": 1, "truncated replies": 2}


def test_a_completion_without_replies_is_an_empty_reply() -> None:
    class Mute(ScriptedModel):
        def complete(self, *args: Any, **options: Any) -> Completion:
            return Completion(())

    target, setup = ChatTarget(model=Mute(echo)), FakeSetup()
    target.begin(setup)
    assert target.run(P, EXAMPLES[:1]) == [Failed("empty")]
    assert setup.counts == {"empty replies": 1}


class Concurrent(ScriptedModel):
    """Calls a function outside of any lock."""

    def __init__(self, reply: Callable[[str], str]) -> None:
        super().__init__(echo)
        self._reply = reply

    def complete(self, request: Request, /) -> Completion:
        return Completion((Reply(self._reply(request.messages[-1].text)),))


def test_prompts_and_examples_are_asked_side_by_side() -> None:
    barrier = threading.Barrier(6, timeout=5)
    target = ChatTarget(model=Concurrent(lambda text: str(barrier.wait() >= 0)), workers=6)
    target.begin(FakeSetup())
    assert list(target.run_batch([P, Prompt("Other.")], EXAMPLES[:3])) == [["True"] * 3] * 2


def test_a_prompt_is_handed_out_while_the_next_is_still_asked() -> None:
    release = threading.Event()
    target = ChatTarget(model=Concurrent(lambda text: "x" if "Answer" in text else str(release.wait(5))), workers=4)
    target.begin(FakeSetup())
    outputs = target.run_batch([P, Prompt("Other.")], EXAMPLES[:2])
    assert next(iter(outputs)) == ["x", "x"]
    release.set()
    assert list(outputs) == [["True", "True"]]


def test_a_final_no_ends_the_rest() -> None:
    asked: list[str] = []

    def refuse(text: str) -> str:
        asked.append(text)
        raise ModelError("401: wrong key")

    target = ChatTarget(model=Concurrent(refuse), workers=2)
    target.begin(FakeSetup())
    with pytest.raises(ModelError, match="wrong key"):
        list(target.run_batch([P] * 100, EXAMPLES))
    assert len(asked) <= 4


def test_one_request_that_fails_for_good_ends_nothing() -> None:
    answers = iter([Unanswered("m: busy (HTTP 500)"), Rejected("m: too long (HTTP 400)"), "red"])

    def reply(messages: Sequence[Message]) -> str:
        if isinstance(answer := next(answers), ModelError):
            raise answer
        return answer

    target, _, setup = begun(reply, workers=1)
    assert target.run(P, EXAMPLES[:3]) == [
        Missing("requests lost after all retries: m: busy (HTTP 500)"),
        Failed("requests rejected by the provider: m: too long (HTTP 400)"),
        "red",
    ]
    assert setup.counts == {"requests lost after all retries": 1, "requests rejected by the provider": 1}


# ── In a run ──────────────────────────────────────────────────────────────────────────────────────────────────────


class Streaming:
    """The smallest rating scorer over a target, answering prompt by prompt."""

    question = Rate

    def __init__(self, target: ChatTarget) -> None:
        self.target = target

    def begin(self, setup: Setup, /) -> None:
        self.target.begin(setup)

    def answer(self, questions: Sequence[Rate], /) -> Any:
        for outputs in self.target.run_batch([question.prompt for question in questions], EXAMPLES):
            lengths = [len(output) for output in outputs if output]
            yield Rating(sum(lengths) / len(lengths) if lengths else math.nan)


def search(folder: Path | None, *, calls: int) -> tuple[Run, ScriptedModel, str]:
    model = ScriptedModel(echo)
    texts = [f"Answer{'!' * i}" for i in range(1, 9)]
    run = Run(
        RandomSearch(pool=ListPool(prompts=texts)),
        Streaming(ChatTarget(model=model)),
        start=[P],
        budget=Budget(calls=calls),
        ledger=Ledger(folder),
    )
    if not run.ledger.past:
        run.ledger.append({"event": "start"})
    reason = run.search()
    run.ledger.close()
    return run, model, reason


def test_calls_are_billed_and_the_budget_holds_across_threads() -> None:
    run, model, reason = search(None, calls=20)
    assert reason == "budget: calls"
    assert len(model.calls) == run.meter.usage.calls <= 20
    assert 0 < len(run.steps) <= 3


def test_a_resumed_run_buys_nothing_twice(tmp_path: Path) -> None:
    _, first, _ = search(tmp_path, calls=20)
    run, second, _ = search(tmp_path, calls=1_000)
    whole, _, _ = search(None, calls=1_000)
    assert len(first.calls) + len(second.calls) == whole.meter.usage.calls == run.meter.usage.calls == 54
    assert [step.answer for step in run.steps] == [step.answer for step in whole.steps]


def test_the_budget_is_over_for_the_caller_too() -> None:
    class Poor(FakeSetup):
        def model(self, model: Any, *, role: str) -> Any:
            def refuse(text: str) -> str:
                raise BudgetExhausted("calls")

            return Concurrent(refuse)

    target = ChatTarget(model=ScriptedModel(echo))
    target.begin(Poor())
    with pytest.raises(BudgetExhausted):
        target.run(P, EXAMPLES)


# ── Mistakes ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"workers": 0}, "workers is 0"),
        ({"demonstrations": -1}, "demonstrations is -1"),
        ({"demonstrations": 6}, "demonstrations is 6, but there are 6 training examples"),
        ({"temperature": -1.0}, "temperature is -1.0"),
        ({"temperature": math.nan}, "temperature is nan"),
        ({"template": "{prompt}"}, "shows no input"),
    ],
)
def test_bad_arguments(options: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        ChatTarget(**{"model": ScriptedModel(echo), "examples": EXAMPLES, **options})


def test_a_template_that_names_a_field_that_is_not_there() -> None:
    target, model, _ = begun(template="{prompt} {question}")
    with pytest.raises(UnknownName, match="unknown placeholder 'question'"):
        target.run(P, EXAMPLES)
    assert not model.calls


def test_an_input_that_is_no_text() -> None:
    target, _, _ = begun()
    with pytest.raises(UserError, match="example 'image': object is no text"):
        target.run(P, [Example("image", object(), "cat")])


def test_the_run_offers_examples_and_seed() -> None:
    offered = {"examples": EXAMPLES, "seed": 5, "classes": ()}
    target = call(ChatTarget, {"model": ScriptedModel(echo), "demonstrations": 2}, where="target", offered=offered)
    direct = ChatTarget(model=ScriptedModel(echo), demonstrations=2, examples=EXAMPLES, seed=5)
    assert target.messages(P, EXAMPLES[0]) == direct.messages(P, EXAMPLES[0])


def test_the_models_notes_are_given_once() -> None:
    class Noted(ScriptedModel):
        notes = ("no price known",)

    class Listens(FakeSetup):
        def note(self, text: str) -> None:
            self.notes.append(text)

    setup = Listens()
    ChatTarget(model=Noted(["x"])).begin(setup)
    assert setup.notes == ["no price known"]
