"""DSPy programs as targets: parts, demonstrations, calls that the run pays for, and what a failure is."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

import promptopt
from promptopt.api import prepare
from promptopt.core import Case, Dataset, Example, Failed, Message, Missing, Picture, Prompt, Reply, Request, Usage
from promptopt.demonstrations import Demonstration
from promptopt.demonstrations import text_of as listed
from promptopt.errors import BudgetExhausted, ModelError, Rejected, Unanswered, UserError
from promptopt.optimizers import HillClimb, LexicalProposer
from promptopt.parts import parts_of, text_of
from promptopt.run.budget import Budget
from promptopt.run.estimate import estimate
from promptopt.scorers.cases import described
from promptopt.targets.dspy import DSPyProgram
from promptopt.targets.dspy.engine import read_request
from promptopt.testing import FakeSetup, ScriptedModel
from promptopt.testing.contracts import TargetContract

from ..models.openai_server import completion, serving

dspy = pytest.importorskip("dspy")

ASKED = [Example("1", "yes", "yes"), Example("2", {"question": "no"}, {"answer": "no"})]


def says(**fields: Any) -> str:
    """A reply in DSPy's usual format."""
    return "\n\n".join(f"[[ ## {name} ## ]]\n{value}" for name, value in [*fields.items(), ("completed", "")])


def fields_of(messages: Sequence[Message]) -> tuple[list[str], dict[str, str]]:
    """The output fields that a predictor asks for, and the input fields of its last message."""
    listed_, last = messages[0].text.split("Your output fields are:")[1], messages[-1].text
    wanted = [line.split("`")[1] for line in listed_.split("All interactions")[0].splitlines() if "`" in line]
    given = [part.split(" ## ]]\n") for part in last.partition("\n\nRespond with")[0].split("[[ ## ")[1:]]
    return wanted, {name: value.strip() for name, value in given}


def echo(messages: Sequence[Message]) -> str:
    """Every output field is the last input field's value."""
    wanted, given = fields_of(messages)
    return says(**dict.fromkeys(wanted, [*given.values()][-1]))


class Two(dspy.Module):  # type: ignore[misc]
    """A program of two predictors, of which one reasons."""

    def __init__(self) -> None:
        super().__init__()
        self.sum_up = dspy.ChainOfThought("text -> summary")
        self.classify = dspy.Predict("summary -> label")

    def forward(self, text: str) -> Any:
        return self.classify(summary=self.sum_up(text=text).summary)


class Calls(dspy.Module):  # type: ignore[misc]
    """A program that does with its predictor what a test says."""

    def __init__(self, does: Callable[[Any, str], Any]) -> None:
        super().__init__()
        self.ask = dspy.Predict("question -> answer")
        self.does = does

    def forward(self, question: str) -> Any:
        return self.does(self.ask, question)


def begun(program: Any, replies: Any = echo, setup: FakeSetup | None = None, **options: Any) -> DSPyProgram:
    model = replies if hasattr(replies, "complete") else ScriptedModel(replies)
    target = DSPyProgram(program=program, model=model, **options)
    target.begin(setup or FakeSetup())
    return target


class Failing(ScriptedModel):
    """A model that raises what it is given instead of the first reply, and answers afterwards."""

    def __init__(self, *errors: Exception) -> None:
        super().__init__(echo)
        self.errors = list(errors)

    def complete(self, request: Request, /) -> Any:
        if self.errors:
            raise self.errors.pop(0)
        return super().complete(request)


class TestOnePredictor(TargetContract):
    prompts = ("Answer.", "Answer in a word.")
    bad_prompts = ("", text_of({"other": "Answer."}), "Answer \ud800.")

    def make(self) -> DSPyProgram:
        return DSPyProgram(
            program=dspy.Predict("question -> answer"), model=ScriptedModel(echo), examples=ASKED, field="answer"
        )

    def examples(self) -> list[Example]:
        return ASKED


class TestTwoPredictors(TargetContract):
    prompts = (text_of({"sum_up": "Sum up.", "classify": "Name it."}), text_of({"classify": "Name it."}))
    bad_prompts = ("Sum up.", text_of({"sum_up": ""}), text_of({"sum_up": "Sum up.", "verify": "Look."}))

    def make(self) -> DSPyProgram:
        return DSPyProgram(program=Two(), model=ScriptedModel(echo), examples=self.examples(), field="label")

    def examples(self) -> list[Example]:
        return [Example(one, {"text": one}, {"label": one}) for one in ("good", "bad")]

    def test_takes_the_parts_that_it_names(self) -> None:
        assert [*self.make().takes_parts] == ["sum_up", "classify", "demonstrations"]


# ── Parts ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_each_instruction_goes_to_its_predictor_and_the_program_stays_as_it_was() -> None:
    program, model = Two(), ScriptedModel(echo)
    target = begun(program, model)
    prompt = Prompt(text_of({"sum_up": "Say it\nin a word.", "classify": "Name it."}))
    (output,) = target.run(prompt, [Example("1", "fine", "fine")])
    assert isinstance(output, dspy.Prediction)
    assert output.label == "fine"
    ends = [request.messages[0].text.split("your objective is:")[1].split() for request in model.calls]
    assert ends == ["Say it in a word.".split(), "Name it.".split()]
    assert program.sum_up.predict.signature.instructions.startswith("Given the fields")
    assert parts_of(target.start) == {
        "sum_up": "Given the fields `text`, produce the fields `summary`.",
        "classify": "Given the fields `summary`, produce the fields `label`.",
    }


def test_the_names_of_predictors_become_names_of_parts() -> None:
    class Many(dspy.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.steps = [dspy.ChainOfThought("a -> b"), dspy.Predict("b -> c")]
            self.by = {"a b": dspy.Predict("c -> d")}
            self.demonstrations = dspy.Predict("d -> e")
            self.frozen = dspy.ChainOfThought("e -> f")
            self.frozen._compiled = True

    target = begun(Many())
    assert [*target.parts.values()] == ["steps-0", "steps-1", "by-a-b", "demonstrations-2"]
    assert begun(dspy.Predict("a -> b")).parts == {"self": "instruction"}
    assert begun(dspy.ChainOfThought("a -> b")).start == "Given the fields `a`, produce the fields `b`."


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"program": len}, "a dspy.Module"),
        ({"program": "no_such_module:program"}, "no_such_module"),
        ({"program": "os:abort"}, "a dspy.Module"),
        ({"program": "shutil:rmtree"}, "a dspy.Module"),
        ({"program": "subprocess:Popen"}, "a dspy.Module"),
        ({"program": dspy.Module()}, "no predictors"),
        ({"workers": 0}, "workers"),
        ({"temperature": -1.0}, "temperature"),
        ({"model": None}, "has no LM"),
    ],
)
def test_what_cannot_be_a_target(options: dict[str, Any], error: str) -> None:
    with pytest.raises(UserError, match=error):
        DSPyProgram(**{"program": dspy.Predict("a -> b"), "model": ScriptedModel(echo), **options})


def test_inputs_that_are_no_tables_need_a_field() -> None:
    program = dspy.Predict("context, question -> reply, answer")
    with pytest.raises(UserError, match="option input"):
        begun(program).run(Prompt("Answer."), [ASKED[0]])
    target = begun(program, input="question", label="reply")
    assert target.fields.example(ASKED[0]).toDict() == {"question": "yes", "reply": "yes"}
    assert target.fields.example(ASKED[0]).inputs().toDict() == {"question": "yes"}


# ── Demonstrations ────────────────────────────────────────────────────────────────────────────────────────────────


def test_labels_are_shown_to_the_predictors_that_have_the_field_and_never_the_example_that_is_asked() -> None:
    examples = [Example(str(i), {"text": f"text {i}"}, {"label": f"label {i}"}) for i in range(3)]
    examples.append(Example("twin", {"text": "text 0"}, {"label": "label 0"}))
    model = ScriptedModel(echo)
    target = begun(Two(), model, examples=examples, demonstrations=True, workers=1)
    assert parts_of(target.start)["demonstrations"] == ""
    shown = listed([Demonstration(one.id) for one in (examples[1], examples[0], examples[3])])
    target.run(Prompt(text_of({**parts_of(target.start), "demonstrations": shown})), examples[:1])
    sum_up, classify = model.calls
    assert len(sum_up.messages) == 2  # text and label are an input and no output of its own
    assert len(classify.messages) == 2  # a label and no input
    model.calls.clear()
    target = begun(dspy.ChainOfThought("text -> label"), model, examples=examples, workers=1)
    target.run(Prompt(text_of({"instruction": "Name it.", "demonstrations": shown})), examples[:1])
    texts = [message.text for message in model.calls[0].messages[1:-1]]
    assert ["text 1" in texts[0], "label 1" in texts[1], len(texts)] == [True, True, 2]


def test_what_predictors_gave_is_shown_to_each_of_them() -> None:
    examples = [Example("1", {"text": "fine"}, {"label": "good"}), Example("2", {"text": "poor"}, {"label": "bad"})]
    model = ScriptedModel(echo)
    target = begun(Two(), model, examples=examples, workers=1)
    (output, _) = target.run(Prompt(target.start), examples)
    told = described(output)
    assert json.loads(told or "") == {
        "label": "fine",
        "steps": {"sum_up": {"reasoning": "fine", "summary": "fine"}},
    }
    model.calls.clear()
    prompt = Prompt(text_of({**parts_of(target.start), "demonstrations": listed([Demonstration("1", told)])}))
    target.run(prompt, examples[1:])
    shown = [[message.text for message in call.messages[1:-1]] for call in model.calls]
    assert [len(one) for one in shown] == [2, 2]
    assert shown[0][1].startswith(says(reasoning="fine", summary="fine").strip())
    assert shown[1][1].startswith(says(label="fine").strip())
    bad = listed([Demonstration("1", "no JSON")])
    assert "JSON object" in (target.problem_with(Prompt(text_of({"sum_up": "a", "demonstrations": bad}))) or "")


def test_a_program_keeps_the_demos_that_it_came_with_until_others_are_named() -> None:
    program = dspy.Predict("question -> answer")
    program.demos = [dspy.Example(question="old", answer="old")]
    model = ScriptedModel(echo)
    target = begun(program, model, examples=ASKED)
    for shown, held in (("", "old"), ("1", "yes")):
        target.run(Prompt(text_of({"instruction": "Answer.", "demonstrations": shown})), [ASKED[1]])
        assert held in model.calls[-1].messages[1].text


# ── Calls ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_seeds_are_of_what_is_asked_whichever_thread_asks_first() -> None:
    program = Calls(lambda ask, question: [ask(question=question), ask(question=question)][0])
    seeds = []
    for workers in (1, 4):
        model = ScriptedModel(echo)
        begun(program, model, workers=workers).run(Prompt("Answer."), ASKED)
        seeds.append(sorted((call.messages[-1].text, call.seed) for call in model.calls))
    assert seeds[0] == seeds[1]
    assert len({seed for _, seed in seeds[0]}) == 4


def test_settings_of_a_predictor_and_of_its_lm_reach_the_model() -> None:
    program = Calls(lambda ask, question: ask(question=question, config={"stop": ["\n\n\n"], "max_tokens": 7}))
    program.ask.lm = dspy.LM("my/llm", temperature=0.1, n=2)
    model = ScriptedModel(echo)
    begun(program, model).run(Prompt("Answer."), ASKED[:1])
    assert [(one.temperature, one.stop, one.max_tokens) for one in model.calls] == [(0.7, ("\n\n\n",), 7)] * 2
    program.ask.lm = None
    begun(program, model, temperature=0.5).run(Prompt("Answer."), ASKED[:1])
    assert model.calls[-1].temperature == 0.5


def test_what_a_request_of_ours_has_no_place_for_is_refused() -> None:
    program = Calls(lambda ask, question: ask(question=question, config={"top_p": 0.5}))
    with pytest.raises(UserError, match="top_p"):
        begun(program).run(Prompt("Answer."), ASKED)
    lm15 = dspy.lm15
    part = lm15.ImagePart(data="iVBORw0KGgo=", media_type="image/png")
    request = lm15.Request(model="m", messages=(lm15.Message.user([lm15.TextPart("What?"), part]),), system="Be short.")
    read = read_request(request, temperature=0.5)
    assert read.messages == (
        Message("system", "Be short."),
        Message("user", "What?", (Picture(b"\x89PNG\r\n\x1a\n"),)),
    )
    tool = lm15.FunctionTool(name="look", description="", parameters={"type": "object", "properties": {}})
    with pytest.raises(UserError, match="tools"):
        read_request(lm15.Request(model="m", messages=request.messages, tools=(tool,)), temperature=0.5)


def test_the_adapter_of_the_callers_settings_is_used_with_its_schema() -> None:
    program, model = dspy.Predict("question -> answer"), ScriptedModel(['{"answer": "yes"}'])
    program.lm = dspy.LM("openai/gpt-4o-mini")
    with dspy.context(adapter=dspy.JSONAdapter()):
        target = begun(program, model, field="answer")
        assert target.record["adapter"] == "JSONAdapter"
        assert target.run(Prompt("Answer."), ASKED[:1]) == ["yes"]
    assert model.calls[0].schema is not None
    assert "answer" in model.calls[0].schema["properties"]


def test_awaited_and_threaded_programs() -> None:
    class Awaits(dspy.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.ask = dspy.Predict("question -> answer")

        async def aforward(self, question: str) -> Any:
            both = await asyncio.gather(*(self.ask.acall(question=f"{question}{i}") for i in range(2)))
            return dspy.Prediction(answer=" ".join(one.answer for one in both))

    def parallel(ask: Any, question: str) -> Any:
        run = dspy.Parallel(num_threads=2, disable_progress_bar=True)
        both = run([(ask, {"question": f"{question}{i}"}) for i in range(2)])
        return dspy.Prediction(answer=" ".join(one.answer for one in both))

    for program in (Awaits(), Calls(parallel)):
        model = ScriptedModel(echo)
        assert begun(program, model, field="answer").run(Prompt("Answer."), ASKED) == ["yes0 yes1", "no0 no1"]
        assert len({call.seed for call in model.calls}) == 4


def test_an_agent_with_a_tool() -> None:
    steps = iter(["look_up", "finish"])

    def acts(messages: Sequence[Message]) -> str:
        wanted, given = fields_of(messages)
        if "next_tool_name" not in wanted:
            return says(reasoning="I looked.", answer=given["observation_0"])
        name = next(steps)
        args = json.dumps({"word": given["question"]} if name == "look_up" else {})
        return says(next_thought="Look.", next_tool_name=name, next_tool_args=args)

    def look_up(word: str) -> str:
        """What a word means."""
        return f"meaning of {word}"

    model = ScriptedModel(acts)
    target = begun(dspy.ReAct("question -> answer", tools=[look_up], max_iters=3), model, field="answer")
    assert [*target.takes_parts] == ["react", "extract", "demonstrations"]
    assert target.run(Prompt(target.start), ASKED[:1]) == ["meaning of yes"]
    assert len(model.calls) == 3


def test_usage_is_tracked_once_and_equals_what_the_run_counts() -> None:
    model = ScriptedModel(echo)
    spent: list[Usage] = []

    class Counting(ScriptedModel):
        def complete(self, request: Request, /) -> Any:
            spent.append((done := model.complete(request)).usage)
            return done

    with dspy.context(track_usage=True):
        (output,) = begun(Two(), Counting(echo)).run(Prompt(begun(Two()).start), [Example("1", "fine", "")])
    (usage,) = output.get_lm_usage().values()
    assert usage["prompt_tokens"] == sum(one.input_tokens for one in spent)
    assert usage["completion_tokens"] == sum(one.output_tokens for one in spent)


# ── What fails, and whose fault it is ─────────────────────────────────────────────────────────────────────────────


def swallowing(ask: Any, question: str) -> Any:
    try:
        return ask(question=question)
    except Exception:
        return dspy.Prediction(answer="I do not know")


def plainly(ask: Any, question: str) -> Any:
    return ask(question=question)


def outcome(does: Any, replies: Any, **options: Any) -> Any:
    (output,) = begun(Calls(does), replies, field="answer", **options).run(Prompt("Answer."), ASKED[:1])
    return output


def test_a_reply_that_cannot_be_read_is_a_failed_output() -> None:
    setup = FakeSetup()
    output = outcome(plainly, lambda messages: "I like trains", setup=setup)
    assert output == Failed("unreadable reply", "I like trains")
    assert setup.counts == {"unreadable replies": 1}


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (Reply("[[ ## ans", "length"), "cut at max_tokens = 1024"),
        (Reply("No.", "refusal"), "refused"),
        (Reply(""), "empty"),
    ],
)
def test_a_flawed_reply_says_what_is_wrong_with_it(reply: Reply, reason: str) -> None:
    assert outcome(plainly, lambda messages: reply).reason == reason


@pytest.mark.parametrize("does", [plainly, swallowing])
def test_a_lost_call_leaves_the_output_unscored_even_where_the_program_goes_on(does: Any) -> None:
    setup = FakeSetup()
    output = outcome(does, Failing(Unanswered("HTTP 503")), setup=setup)
    assert output == Missing("requests lost after all retries: HTTP 503")
    assert setup.counts == {"requests lost after all retries": 1}


def test_a_rejected_call_is_the_prompts_fault_unless_the_program_goes_on() -> None:
    assert outcome(plainly, Failing(Rejected("too long"))) == Failed("requests rejected by the provider: too long")
    assert outcome(swallowing, Failing(Rejected("too long"))) == "I do not know"


@pytest.mark.parametrize("error", [BudgetExhausted("calls"), ModelError("no such model"), KeyError("a bug of ours")])
@pytest.mark.parametrize("does", [plainly, swallowing])
def test_what_ends_the_run_ends_it_whatever_the_program_catches(does: Any, error: Exception) -> None:
    with pytest.raises(type(error)) as caught:
        outcome(does, Failing(error))
    assert caught.value is error


def test_after_the_end_no_further_call_is_made() -> None:
    def twice(ask: Any, question: str) -> Any:
        swallowing(ask, question)
        return swallowing(ask, question)

    model = Failing(BudgetExhausted("calls"))
    with pytest.raises(BudgetExhausted):
        outcome(twice, model)
    assert not model.calls


def raises(error: Exception, *, first: bool = False) -> Any:
    def does(ask: Any, question: str) -> Any:
        if not first:
            ask(question=question)
        raise error

    return does


def test_errors_of_the_program_itself() -> None:
    assert outcome(raises(ValueError("no\nnumber")), echo) == Failed("the program raised ValueError: no number")
    assert outcome(raises(ConnectionError("gone")), echo).reason.startswith("the program failed for outside reasons")
    assert isinstance(outcome(raises(ConnectionError("gone")), echo), Missing)
    with pytest.raises(UserError, match="before it asked an LM"):
        outcome(raises(TypeError("unexpected keyword"), first=True), echo)


def test_an_lm_that_is_called_past_the_predictors_is_not_overlooked() -> None:
    other = dspy.utils.DummyLM([{"answer": "yes"}])

    def goes_elsewhere(ask: Any, question: str) -> Any:
        with dspy.context(lm=other):
            return dspy.Predict("question -> answer")(question=question)

    with pytest.raises(UserError, match="past its predictors"):
        outcome(goes_elsewhere, echo)


def test_a_field_that_the_prediction_lacks_or_left_empty() -> None:
    with pytest.raises(UserError, match="no field 'answer'"):
        outcome(lambda ask, question: dspy.Prediction(reply=ask(question=question)), echo)
    assert outcome(lambda ask, question: ask(question=question) and dspy.Prediction(answer=None), echo) == Failed(
        "empty"
    )


def test_what_is_no_prediction_is_the_output_itself() -> None:
    assert outcome(lambda ask, question: ask(question=question).answer, echo) == "yes"


# ── In a run ──────────────────────────────────────────────────────────────────────────────────────────────────────

FILMS = [Example(str(i), {"text": word}, {"label": word}) for i, word in enumerate(["fine", "poor", "fair", "dull"])]


def careful(messages: Sequence[Message]) -> str:
    """Says what is asked where the instruction says careful; else it loses every other word."""
    wanted, given = fields_of(messages)
    (value,) = given.values()
    right = "careful" in messages[0].text or value in ("fine", "fair")
    return says(**dict.fromkeys(wanted, value if right else "unknown"))


def graded(example: Any, prediction: Any, trace: Any = None) -> Any:
    return dspy.Prediction(score=example.label == prediction.label, feedback=f"it is {example.label}")


def search(folder: Path | None, model: ScriptedModel, **options: Any) -> promptopt.Result:
    return promptopt.optimize(
        target={"name": "dspy-program", "program": f"{__name__}:Single", "model": model},
        data=Dataset("films", tuple(FILMS[:2]), (), tuple(FILMS[2:])),
        metric={"name": "dspy", "function": graded},
        optimizer=HillClimb(proposer=LexicalProposer(phrases=["be careful", "be quick"])),
        run=folder,
        reply_cache=False,
        watch=False,
        **{"budget": 8, **options},
    )


class Single(dspy.Module):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self.name_it = dspy.Predict("text -> label")

    def forward(self, text: str) -> Any:
        return self.name_it(text=text)


def test_a_run_begins_with_the_programs_own_instruction_and_tells_the_metrics_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, __name__, __import__("types").SimpleNamespace(Single=Single))
    model = ScriptedModel(careful)
    result = search(tmp_path / "run", model, cases=True)
    assert result.start == Single().name_it.signature.instructions
    assert "be careful" in result.best
    assert result.verdict is not None
    assert (result.verdict.start, result.verdict.best) == (0.5, 1.0)
    assert result.costs.calls == len(model.calls)
    assert result.steps[0].answer.cases == (
        Case("0", '{"label": "fine"}', 1.0, "it is fine"),
        Case("1", '{"label": "unknown"}', 0.0, "it is poor"),
    )
    again = ScriptedModel(careful)
    assert search(tmp_path / "run", again, cases=True).best == result.best
    assert not again.calls


def test_a_budget_of_calls_holds_inside_the_program(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, __name__, __import__("types").SimpleNamespace(Single=Single))
    model = ScriptedModel(careful)
    result = search(None, model, budget=Budget(questions=8, calls=9))
    assert len(model.calls) <= 9
    assert result.costs.calls == len(model.calls)


def test_the_programs_own_lms_are_paid_for_without_their_caches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-a-test")
    with serving(*[completion(says(label="fine"), usage=(10, 3))] * 4) as server:
        program = Single()
        program.set_lm(dspy.LM("openai/m", api_base=server.url, temperature=0.5, max_tokens=50))
        result = promptopt.optimize(
            target=DSPyProgram(program=program, workers=1),
            data=Dataset("films", tuple(FILMS[:2])),
            metric={"name": "dspy", "function": graded},
            optimizer=HillClimb(proposer=LexicalProposer(phrases=["be careful"])),
            budget=2,
            run=None,
            reply_cache=False,
            watch=False,
        )
    assert (result.costs.calls, result.costs.input_tokens, result.costs.output_tokens) == (4, 40, 12)
    assert [request.body["temperature"] for request in server.requests] == [0.5] * 4
    assert program.name_it.lm.history == []


def test_many_threads_share_one_copy_of_the_program() -> None:
    copies, lock = set(), threading.Lock()

    def notes(ask: Any, question: str) -> Any:
        with lock:
            copies.add(id(ask))
        return ask(question=question)

    begun(Calls(notes), workers=4).run(Prompt("Answer."), ASKED * 3)
    assert len(copies) == 1


# ── Metrics that ask LMs ──────────────────────────────────────────────────────────────────────────────────────────


class Judged(dspy.Module):  # type: ignore[misc]
    """A metric that is a program."""

    def __init__(self) -> None:
        super().__init__()
        self.judge = dspy.Predict("wanted, given -> grade: float")

    def forward(self, example: Any, prediction: Any, trace: Any = None) -> Any:
        return self.judge(wanted=example.label, given=prediction.label).grade


def judged(example: Any, prediction: Any, trace: Any = None) -> float:
    return float(Judged()(example, prediction))


class Grades:
    """An engine that grades; of a bad day it says nothing that can be read."""

    def __init__(self, *replies: str) -> None:
        self.replies = replies

    def complete(self, request: Any) -> Any:
        said = request.messages[-1].text
        lm15, (wanted, given) = dspy.lm15, (part.split("\n")[1] for part in said.split("## ]]")[1:3])
        text = self.replies[0] if self.replies else says(grade=float(wanted == given))
        message = lm15.Message.assistant([lm15.TextPart(text)])
        usage = lm15.Usage(input_tokens=5, output_tokens=1)
        return lm15.Response(id=None, model="judge", message=message, finish_reason="stop", usage=usage)


def rated(metric: Any, lm: Any, **options: Any) -> promptopt.Result:
    with dspy.context(lm=lm):
        return promptopt.optimize(
            target=DSPyProgram(program=Single(), model=ScriptedModel(careful)),
            data=Dataset("films", tuple(FILMS)),
            metric={"name": "dspy", "function": metric, **options},
            optimizer=HillClimb(proposer=LexicalProposer(phrases=["be careful"])),
            budget=3,
            run=None,
            reply_cache=False,
            watch=False,
        )


@pytest.mark.parametrize("metric", [judged, Judged()])
def test_the_lm_of_a_metric_is_paid_for_too(metric: Any) -> None:
    lm = dspy.LM("my/judge", engine=Grades())
    result = rated(metric, lm, workers=4)
    assert [step.answer.value for step in result.steps[:2]] == [0.5, 1.0]
    assert result.costs.calls == 2 * len(result.steps) * len(FILMS)
    assert lm.history == []


def test_an_unreadable_judge_leaves_outputs_unscored() -> None:
    with pytest.raises(promptopt.PromptoptError, match="unreadable reply"):
        rated(judged, dspy.LM("my/judge", engine=Grades("no idea")))


# ── Before a run ──────────────────────────────────────────────────────────────────────────────────────────────────


class Typed(dspy.Module):  # type: ignore[misc]
    """A program whose second call needs what the first one gave, of several types."""

    def __init__(self) -> None:
        super().__init__()
        self.count = dspy.Predict("text -> words: int, kinds: list[str], mood: Literal['glad', 'sad']")
        self.name_it = dspy.ChainOfThought("mood, words: int -> label")

    def forward(self, text: str) -> Any:
        counted = self.count(text=text)
        return self.name_it(mood=counted.mood, words=counted.words + len(counted.kinds))


@pytest.mark.parametrize("adapter", ["ChatAdapter", "JSONAdapter"])
def test_an_estimate_counts_the_calls_of_every_predictor(adapter: str) -> None:
    program = Typed()
    program.set_lm(dspy.LM("openai/gpt-4o-mini"))
    with dspy.context(adapter=getattr(dspy, adapter)()):
        plan = prepare(
            {
                "target": DSPyProgram(program=program),
                "data": Dataset("films", tuple(FILMS[:2]), (), tuple(FILMS[2:])),
                "metric": {"name": "dspy", "function": graded},
                "optimizer": HillClimb(proposer=LexicalProposer(phrases=["be careful"])),
                "budget": 5,
            }
        )
        expected = estimate(plan)
    assert expected.shares["target"].expected.calls == (expected.questions + 2) * 2 * 2
