"""promptopt as an optimizer of MLflow: its prompts, its evaluation, its store."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("mlflow", reason="mlflow is not installed")

from promptopt.errors import UserError
from promptopt.mlflow import FAILED, PromptOpt
from promptopt.optimizers import HillClimb, LexicalProposer

CLIMB = HillClimb(proposer=LexicalProposer(phrases=["clear", "short", "polite"]))
DATA = [{"inputs": {"question": f"q{n}"}, "outputs": "right"} for n in range(24)]
Records = Sequence[dict[str, Any]]


def evaluation(right: Callable[[dict[str, str], str], bool], *, seen: list[Any] | None = None) -> Any:
    """As MLflow makes one: it runs the user's function on records and has scorers mark what comes back."""

    def evaluate(prompts: dict[str, str], records: Records) -> list[Any]:
        if seen is not None:
            seen.append((prompts, [record["inputs"]["question"] for record in records]))
        found = []
        for record in records:
            question = record["inputs"]["question"]
            score = float(right(prompts, question))
            said = f"{FAILED}{record['inputs']}: no" if question == "q3" else "right" if score else "wrong"
            reasons = {"accuracy": f"{said} for {question}"}
            found.append(
                SimpleNamespace(outputs=said, score=score, rationales=reasons, individual_scores={"accuracy": score})
            )
        return found

    return evaluate


def clear(prompts: dict[str, str], question: str) -> bool:
    return "clear" in prompts["qa"] or int(question[1:]) % 2 == 0


def test_scores_are_held_out_and_the_search_never_saw_those_examples() -> None:
    seen: list[Any] = []
    optimizer = PromptOpt(optimizer=CLIMB, budget=15, run=None)
    found = optimizer.optimize(evaluation(clear, seen=seen), DATA, {"qa": "Answer: {{question}}"}, False)
    assert optimizer.result is not None
    verdict = optimizer.result.verdict
    assert verdict is not None
    assert "clear" in found.optimized_prompts["qa"]
    assert (found.initial_eval_score, found.final_eval_score) == (verdict.start, verdict.best)
    assert found.final_eval_score == 1.0 > (found.initial_eval_score or 0)
    assert found.final_eval_score_per_scorer == {"accuracy": 1.0}
    searched, tested = set(seen[0][1]), set(seen[-1][1])
    assert len(searched) == 16
    assert searched | tested == {f"q{n}" for n in range(24)}
    assert not searched & tested


def test_where_the_function_raises_the_example_is_unscored() -> None:
    optimizer = PromptOpt(optimizer=CLIMB, budget=5, run=None)
    optimizer.optimize(evaluation(clear), DATA, {"qa": "Answer: {{question}}"}, False)
    assert optimizer.result is not None
    coverages = [one.rating.coverage for one in optimizer.result.candidates]
    verdict = optimizer.result.verdict
    reasons = [dict(one.reasons) for one in (*coverages, verdict and verdict.best_coverage) if one]
    assert {"the function to predict with raised": 1} in reasons


def test_variables_stay_and_several_prompts_are_parts() -> None:
    def right(prompts: dict[str, str], question: str) -> bool:
        assert set(prompts) == {"system", "user"}
        assert prompts["system"] == "Be good."
        assert re.findall(r"{{(.*?)}}", prompts["user"]) == ["question"]
        return "clear" in prompts["user"]

    prompts = {"system": "Be good.", "user": "Answer {{question}}"}
    optimizer = PromptOpt(optimizer=CLIMB, budget=12, run=None, frozen=["system"])
    found = optimizer.optimize(evaluation(right), DATA, prompts, False)
    assert "clear" in found.optimized_prompts["user"]


def test_a_prompt_without_its_variable_is_never_evaluated() -> None:
    seen: list[Any] = []
    prompts = ["clear", "clear {{question}} {{other}}", "clear {{ question }}"]
    search = {"name": "random-search", "pool": {"name": "list", "prompts": prompts}}
    optimizer = PromptOpt(optimizer=search, budget=6, run=None)
    found = optimizer.optimize(evaluation(clear, seen=seen), DATA, {"qa": "Answer: {{question}}"}, False)
    assert {prompts["qa"] for prompts, _ in seen} == {"Answer: {{question}}", "clear {{ question }}"}
    assert found.optimized_prompts == {"qa": "clear {{ question }}"}


def test_mistakes() -> None:
    with pytest.raises(UserError, match="held_out"):
        PromptOpt(held_out=1)
    with pytest.raises(UserError, match="0 training examples are too few"):
        PromptOpt().optimize(None, [], {"qa": "x"})
    with pytest.raises(UserError, match=r"the prompt 'a\.b' is to be a part"):
        PromptOpt().optimize(evaluation(clear), DATA, {"a.b": "x", "c": "y"})


@pytest.mark.study
def test_the_whole_of_it_with_registry_and_tracking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import mlflow
    from mlflow.genai.scorers import scorer

    monkeypatch.chdir(tmp_path)
    mlflow.set_tracking_uri("sqlite:///mlflow.db")
    try:
        prompt = mlflow.genai.register_prompt(name="qa", template="Answer: {{question}}")

        def predict(question: str) -> str:
            text = prompt.format(question=question)
            return "right" if "clear" in text or int(question[1:]) % 2 else "wrong"

        @scorer(name="accuracy")
        def accuracy(outputs: str, expectations: dict[str, str]) -> float:
            return float(outputs == expectations["expected_response"])

        optimizer = PromptOpt(optimizer=CLIMB, budget=15, run=tmp_path / "run")
        found = mlflow.genai.optimize_prompts(
            predict_fn=predict, train_data=DATA, prompt_uris=[prompt.uri], optimizer=optimizer, scorers=[accuracy]
        )
        assert "clear" in found.optimized_prompts[0].template
        assert mlflow.genai.load_prompt("prompts:/qa/2").template == found.optimized_prompts[0].template
        assert found.final_eval_score == 1.0
        (run,) = mlflow.search_runs(output_format="list")
        assert run.data.metrics["held_out_difference"] == found.final_eval_score - found.initial_eval_score
        assert {one.path for one in mlflow.artifacts.list_artifacts(run_id=run.info.run_id)} >= {"promptopt"}
    finally:
        mlflow.set_tracking_uri(None)
