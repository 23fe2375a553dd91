"""promptopt as an optimizer of DSPy's: what it gives back, and that both ways to it are one."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import promptopt
from promptopt.core import Message, Request
from promptopt.demonstrations import of_prompt
from promptopt.errors import UserError
from promptopt.optimizers import HillClimb, LexicalProposer, PartByPart
from promptopt.parts import parts_of
from promptopt.testing import ScriptedModel

dspy = pytest.importorskip("dspy")

from promptopt.dspy import PromptOpt, dataset, messages  # noqa: E402
from promptopt.models.dspy import DSPy  # noqa: E402
from promptopt.targets.dspy import DSPyProgram  # noqa: E402

FILMS = '''
"""A program of two predictors, and an LM that needs to be told to be careful."""

import dspy
from dspy.lm15 import Message, Response, TextPart, Usage


class Films(dspy.Module):
    def __init__(self):
        super().__init__()
        self.sum_up = dspy.ChainOfThought("text -> summary")
        self.classify = dspy.Predict("summary -> label")

    def forward(self, text):
        return self.classify(summary=self.sum_up(text=text).summary)


class Engine:
    """Sums up in the same words; names only what is short, what was shown, or what it is told to be careful with."""

    def __init__(self):
        self.asked = []

    def complete(self, request):
        system = request.system if isinstance(request.system, str) else "".join(part.text for part in request.system)
        self.asked.append([("system", system), *((one.role, one.text) for one in request.messages)])
        outputs = system.split("output fields are:")[1].split("All ")[0]
        wanted = [line.split("`")[1] for line in outputs.splitlines() if "`" in line]
        said = request.messages[-1].text.split("## ]]")[1].split("Respond with")[0].strip()
        shown = any(said == one.text.split("## ]]")[1].strip() for one in request.messages[:-1] if one.role == "user")
        told = "summary" in wanted or "careful" in system.split("objective is:")[1]
        answer = said if told or len(said) < 4 or shown else "unknown"
        text = "".join(f"[[ ## {name} ## ]]\\n{answer}\\n\\n" for name in wanted) + "[[ ## completed ## ]]"
        usage, message = Usage(input_tokens=len(system), output_tokens=len(text)), Message.assistant([TextPart(text)])
        return Response(id=None, model="m", message=message, finish_reason="stop", usage=usage)


def lm():
    return dspy.LM("my/llm", engine=Engine(), cache=False)


WORDS = ["fine", "bad", "poor", "fun", "dull", "odd", "warm", "shy"]
EXAMPLES = [dspy.Example(text=word, label=word).with_inputs("text") for word in WORDS]


def right(example, prediction, trace=None):
    return dspy.Prediction(score=example.label == prediction.label, feedback=f"it is {example.label}")
'''


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    path = tmp_path_factory.mktemp("dspy") / "films.py"
    path.write_text(FILMS, encoding="utf-8")
    spec = importlib.util.spec_from_file_location("films", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def searcher() -> Any:
    return PartByPart(optimizer=HillClimb(proposer=LexicalProposer(phrases=["be careful"])), turn=2)


def compiled(films: ModuleType, lm: Any, folder: Path | None = None, **options: Any) -> Any:
    options = {"optimizer": searcher(), "budget": 7, "run": folder, "watch": False, "reply_cache": False, **options}
    with dspy.context(lm=lm):
        return PromptOpt(metric=films.right, **options).compile(
            films.Films(), trainset=films.EXAMPLES[:4], valset=films.EXAMPLES[4:]
        )


@dataclass
class Found:
    """One compile, which most tests look at: the program and the run's folder."""

    program: Any
    folder: Path

    @property
    def result(self) -> promptopt.Result:
        result: promptopt.Result = self.program.promptopt_result
        return result


@pytest.fixture(scope="module")
def found(films: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Found:
    lm, folder = films.lm(), tmp_path_factory.mktemp("found") / "run"
    program = compiled(films, lm, folder)
    return Found(program, folder)


def lines(folder: Path, event: str) -> list[dict[str, Any]]:
    every = [json.loads(line) for line in (folder / "ledger.jsonl").read_text(encoding="utf-8").splitlines()]
    return [{key: one[key] for key in one if key not in ("t", "crc")} for one in every if one["event"] == event]


def test_what_comes_back_is_a_compiled_copy_with_the_result(films: ModuleType, found: Found) -> None:
    result, program = found.result, found.program
    assert (program._compiled, type(program)) == (True, films.Films)
    assert isinstance(result, promptopt.Result)
    assert parts_of(result.best)["classify"] == program.classify.signature.instructions
    assert parts_of(result.best)["sum_up"] == program.sum_up.predict.signature.instructions
    assert "careful" in parts_of(result.best)["classify"]
    assert result.verdict is not None
    assert (result.verdict.start, result.verdict.best) == (0.5, 1.0)
    assert result.run == found.folder
    assert result.costs.calls == len(lines(found.folder, "call"))
    assert result.steps[0].answer.feedback


def test_the_student_is_left_as_it_is_and_keeps_its_lms(films: ModuleType) -> None:
    lm, student = films.lm(), films.Films()
    student.set_lm(lm)
    before = str(student)
    optimizer = PromptOpt(metric=films.right, optimizer=searcher(), budget=2, run=None, watch=False, reply_cache=False)
    program = optimizer.compile(student, trainset=films.EXAMPLES[:2])
    assert (str(student), student._compiled) == (before, False)
    assert program.classify.lm is student.classify.lm is lm
    assert program.promptopt_result.verdict is None
    assert program.promptopt_result.costs.calls == len(lm.engine.asked)
    assert program.promptopt_result.costs.input_tokens == sum(len(asked[0][1]) for asked in lm.engine.asked)
    assert program(text="fun").label == "fun"
    assert optimizer.get_params()["metric"] is films.right


def test_both_directions_ask_the_same_and_pay_the_same(films: ModuleType, found: Found, tmp_path: Path) -> None:
    lm = films.lm()
    result = promptopt.optimize(
        target={"name": "dspy-program", "program": films.Films(), "model": DSPy(model=lm)},
        data=dataset(films.EXAMPLES[:4], (), films.EXAMPLES[4:]),
        metric={"name": "dspy", "function": films.right},
        optimizer=searcher(),
        budget=7,
        run=tmp_path / "optimized",
        watch=False,
        reply_cache=False,
    )
    assert (result.best, result.verdict) == (found.result.best, found.result.verdict)
    for event in ("answer", "verdict"):
        assert lines(tmp_path / "optimized", event) == lines(found.folder, event) != []
    keys = [sorted(one["key"] for one in lines(folder, "call")) for folder in (tmp_path / "optimized", found.folder)]
    assert keys[0] == keys[1]
    assert len(set(keys[0])) == len(keys[0]) == len(lm.engine.asked) == result.costs.calls


@pytest.mark.parametrize("kept", [3, 60])
def test_a_killed_compile_is_taken_up_and_pays_for_the_rest(
    films: ModuleType, found: Found, tmp_path: Path, kept: int
) -> None:
    ledger = shutil.copytree(found.folder, tmp_path / "run") / "ledger.jsonl"
    ledger.write_text("".join(ledger.read_text(encoding="utf-8").splitlines(True)[:kept]), encoding="utf-8")
    paid, lm = len(lines(tmp_path / "run", "call")), films.lm()
    again = compiled(films, lm, tmp_path / "run").promptopt_result
    assert (again.best, again.verdict) == (found.result.best, found.result.verdict)
    assert again.costs.calls == found.result.costs.calls
    assert len(lm.engine.asked) == found.result.costs.calls - paid > 0
    whole = len(lm.engine.asked)
    assert compiled(films, lm, tmp_path / "run").promptopt_result.best == again.best
    assert len(lm.engine.asked) == whole


def test_saved_loaded_and_run_in_a_fresh_process_it_predicts_the_same(
    films: ModuleType, found: Found, tmp_path: Path
) -> None:
    found.program.save(str(tmp_path / "found.json"))
    with dspy.context(lm=films.lm()):
        said = [dict(found.program(text=word).items()) for word in films.WORDS]
    code = (
        "import dspy, films, json; dspy.configure(lm=films.lm()); program = films.Films(); "
        f"program.load({str(tmp_path / 'found.json')!r}); "
        "print(json.dumps([dict(program(text=word).items()) for word in films.WORDS]))"
    )
    env = {**os.environ, "PYTHONPATH": str(Path(films.__file__ or "").parent)}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout.splitlines()[-1]) == said
    assert [one["label"] for one in said] == films.WORDS


def test_demonstrations_are_found_and_saved(films: ModuleType, tmp_path: Path) -> None:
    def shown(example: Any, prediction: Any, trace: Any = None) -> bool:
        return bool(example.label == prediction.label)

    lm = films.lm()
    program = dspy.Predict("text -> label")
    twins = [
        dspy.Example(text=word, label=word, number=i).with_inputs("text") for i, word in enumerate(["fine", "dull"])
    ]
    with dspy.context(lm=lm):
        optimizer = PromptOpt(
            metric=shown,
            optimizer={"name": "demonstrations", "k": 2, "sets": 4},
            budget=8,
            run=None,
            watch=False,
            reply_cache=False,
        )
        found = optimizer.compile(program, trainset=[*films.EXAMPLES[:4], *twins])
        ids = of_prompt(found.promptopt_result.best)
        assert [demo.text for demo in found.demos] == [demo.label for demo in found.demos]
        assert len(found.demos) == len(ids)
        found.save(str(tmp_path / "found.json"))
        loaded = dspy.Predict("text -> label")
        loaded.load(str(tmp_path / "found.json"))
        assert [dict(demo) for demo in loaded.demos] == [demo.toDict() for demo in found.demos]


def test_prompts_are_written_by_the_lm_that_is_given(films: ModuleType) -> None:
    writer = ScriptedModel(lambda asked: "- be careful\n- be most careful")
    program = compiled(
        films,
        films.lm(),
        optimizer={"name": "part-by-part", "optimizer": "hill-climb", "turn": 2},
        budget=5,
        prompt_model=writer,
    )
    assert writer.calls
    assert "careful" in program.classify.signature.instructions


def test_a_task_model_answers_in_place_of_the_students(films: ModuleType) -> None:
    def says(asked: Any) -> str:
        return "[[ ## reasoning ## ]]\n\n[[ ## summary ## ]]\nx\n\n[[ ## label ## ]]\nfine"

    model, lm = ScriptedModel(says), films.lm()
    program = compiled(films, lm, budget=2, task_model=model)
    assert model.calls
    assert not lm.engine.asked
    assert program.promptopt_result.costs.calls == len(model.calls)


def test_what_cannot_be_compiled(films: ModuleType) -> None:
    with dspy.context(lm=films.lm()):
        optimizer = PromptOpt(metric=films.right, optimizer=searcher(), budget=2, run=None, watch=False)
        some = films.EXAMPLES[:3]
        with pytest.raises(UserError, match="teacher"):
            optimizer.compile(films.Films(), trainset=some, teacher=films.Films())
        with pytest.raises(UserError, match="1 examples in common"):
            optimizer.compile(films.Films(), trainset=some, valset=some[2:])
        with pytest.raises(UserError, match="trainset is empty"):
            optimizer.compile(films.Films(), trainset=[])
        with pytest.raises(UserError, match="with_inputs"):
            optimizer.compile(films.Films(), trainset=[dspy.Example(text="fine", label="fine")])


def test_equal_examples_have_ids_of_their_own_that_say_what_they_hold(films: ModuleType) -> None:
    data = dataset([*films.EXAMPLES[:2], films.EXAMPLES[0]], (), ())
    ids = [example.id for example in data.train]
    assert ids[2] == f"{ids[0]}.2"
    assert ids[:2] == [example.id for example in dataset(films.EXAMPLES[:2], (), ()).train]


class Module(dspy.Module):  # type: ignore[misc]
    """As in DSPy's own tests of its optimizers."""

    def __init__(self, signature: str) -> None:
        super().__init__()
        self.predictor = dspy.Predict(signature)

    def forward(self, **inputs: Any) -> Any:
        return self.predictor(**inputs)


@pytest.mark.filterwarnings("ignore:dspy.dummy reports no token usage")
def test_what_dspys_tests_hold_of_every_optimizer() -> None:
    def exact(example: Any, prediction: Any) -> bool:
        return bool(example.output == prediction.output)

    words = {"What is the color of the sky?": "blue", "What does the fox say?": "Ring-ding!"}
    trainset = [dspy.Example(input=one, output=said).with_inputs("input") for one, said in words.items()]
    lm = dspy.utils.DummyLM({"sky": {"output": "blue"}, "fox": {"output": "growl"}})
    student = Module("input -> output")
    student.predictor.demos = [dspy.Example(input="Who is it?", output="me")]
    with dspy.context(lm=lm):
        optimizer = PromptOpt(metric=exact, optimizer=searcher(), budget=3, run=None, watch=False, workers=1)
        assert optimizer.get_params()["metric"] is exact
        found = optimizer.compile(student, trainset=trainset)
        assert found(input="What is the color of the sky?").output == "blue"
    assert found is not student
    assert found._compiled
    assert found.predictor is not student.predictor
    assert [demo.toDict() for demo in found.predictor.demos] == [demo.toDict() for demo in student.predictor.demos]
    assert found.promptopt_result.steps[0].answer.value == 0.5


def test_an_error_of_the_program_is_heard() -> None:
    class Buggy(Module):
        def forward(self, **inputs: Any) -> Any:
            raise RuntimeError("Simulated error")

    optimizer = PromptOpt(metric=lambda example, prediction: 1, optimizer=searcher(), run=None, watch=False, workers=1)
    with dspy.context(lm=dspy.utils.DummyLM([{"output": "x"}])), pytest.raises(UserError, match="Simulated error"):
        optimizer.compile(Buggy("input -> output"), trainset=[dspy.Example(input="a", output="b").with_inputs("input")])


# ── Out of DSPy ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_messages_that_are_sent_are_those_that_are_exported(films: ModuleType, found: Found) -> None:
    lm, program = films.lm(), found.program.deepcopy()
    program.classify.demos = [dspy.Example(summary="old", label="old")]
    with dspy.context(lm=lm):
        program(text="a long one")
    said = messages(program, text="a long one", summary="a long one")
    exported = [[(one["role"], one["content"]) for one in said[part]] for part in ("sum_up", "classify")]
    assert exported == lm.engine.asked
    assert [role for role, _ in exported[1]] == ["system", "user", "assistant", "user"]
    assert "{text}" in messages(program)["sum_up"][-1]["content"]


def test_an_instruction_alone_is_not_what_was_found(films: ModuleType) -> None:
    """The same model, asked without DSPy: with what DSPy sends it answers as inside, with the instruction it cannot."""
    model = DSPy(model=films.lm())
    program = dspy.Predict(dspy.Signature("text -> label").with_instructions("be careful"))
    sent = [Message(one["role"], one["content"]) for one in messages(program, text="dull")["instruction"]]
    (reply,) = model.complete(Request(sent)).replies
    assert dspy.ChatAdapter().parse(program.signature, reply.text) == {"label": "dull"}
    alone = [Message("system", "be careful"), Message("user", "dull")]
    with pytest.raises(Exception, match="index out of range"):
        model.complete(Request(alone))


def test_a_program_with_parts_of_its_own_says_so(films: ModuleType) -> None:
    with dspy.context(lm=films.lm()):
        target = DSPyProgram(program=films.Films())
    assert target.record["predictors"].keys() == {"sum_up", "classify"}
    assert target.record["models"] == ["dspy:my/llm"]
