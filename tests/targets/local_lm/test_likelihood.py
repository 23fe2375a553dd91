"""Labels by likelihood, against a plain forward pass for each example and label."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

pytest.importorskip("transformers")

import torch
from transformers import AutoModelForCausalLM

from promptopt import optimize
from promptopt.core import Example, Prompt, Rate
from promptopt.errors import UserError
from promptopt.metrics.classification import Accuracy, LogProbability
from promptopt.scorers import MetricScorer
from promptopt.targets.labels import CONTENT_FREE, Likeliest
from promptopt.targets.local_lm import LocalLM, likelihood
from promptopt.testing.contracts import TargetContract

from ..tiny_lms import CONTEXT, saved

LABELS = ["yes", "no", "apples", "apple", "not that I know"]
EXAMPLES = [
    Example(f"{i}", text, LABELS[i % 5])
    for i, text in enumerate(["Is the sky blue?", "Tom has 12 apples and eats 5.", "2+2", "So?", "Is it? Think, Tom."])
]
PROMPTS = ["Think step by step.", "Answer carefully."]


def local(kind: str = "llama", words: str = "byte-level", *, chat: bool = False, **options: Any) -> LocalLM:
    how: dict[str, Any] = {"answers": "likelihood", "labels": LABELS, "examples": EXAMPLES}
    return LocalLM(model=saved(kind, words, chat=chat), **{**how, **options})


def plain(lm: LocalLM, prompt: str, text: str, word: str) -> float:
    """The log-probability of a word, from a forward pass of its own over everything."""
    (head,) = lm._pages.heads([(prompt, Example("x", text, "yes"))])
    tail = lm._pages.tail(word)
    ids = torch.tensor([[*head.ids, *tail.ids]])
    first = len(head.ids) + tail.first
    model = AutoModelForCausalLM.from_pretrained(lm._model)
    with torch.no_grad():
        logs = model(input_ids=ids).logits[0].log_softmax(-1)
    return sum(float(logs[t - 1, ids[0, t]]) for t in range(first, ids.shape[1]))


def normalized(scores: Sequence[float]) -> np.ndarray:
    return np.array(scores) - np.logaddexp.reduce(scores)


class TestByLikelihood(TargetContract):
    prompts = (*PROMPTS,)
    bad_prompts = ("", "Think.<|end|>")

    def make(self) -> LocalLM:
        return local(calibration="content-free")

    def examples(self) -> Sequence[Example]:
        return EXAMPLES


@pytest.mark.parametrize("template", ["{input}\n{prompt}", "{prompt}\n{input}", "Q: {input} {prompt} {input}"])
@pytest.mark.parametrize(("kind", "words", "chat"), [("llama", "byte-level", True), ("gpt2", "sentencepiece", False)])
def test_labels_have_the_probability_of_a_plain_forward_pass(kind: str, words: str, chat: bool, template: str) -> None:
    lm = local(kind, words, chat=chat, template=template, batch_size=4)
    for outputs, prompt in zip(lm.run_batch([Prompt(one) for one in PROMPTS], EXAMPLES), PROMPTS, strict=True):
        for output, example in zip(outputs, EXAMPLES, strict=True):
            wanted = normalized([plain(lm, prompt, example.input, word) for word in LABELS])
            assert isinstance(output, Likeliest)
            assert list(output.log_probabilities.values()) == pytest.approx(wanted, abs=1e-4)
            assert output == LABELS[int(wanted.argmax())]


def test_calibration_divides_by_what_inputs_without_content_give() -> None:
    lm = local(calibration="content-free")
    (output,) = lm.run(Prompt(PROMPTS[0]), EXAMPLES[:1])
    assert isinstance(output, Likeliest)
    empty = [normalized([plain(lm, PROMPTS[0], text, word) for word in LABELS]) for text in CONTENT_FREE]
    found = normalized([plain(lm, PROMPTS[0], EXAMPLES[0].input, word) for word in LABELS])
    wanted = normalized(found - np.log(np.mean(np.exp(empty), axis=0)))
    assert list(output.log_probabilities.values()) == pytest.approx(wanted, abs=1e-4)


def test_words_of_a_label_are_added_and_long_ones_can_be_normalized() -> None:
    text = EXAMPLES[0].input
    lm = local(labels={"yes": ["yes", "blue"], "no": "not that I know"}, examples=())
    (output,) = lm.run(Prompt("Think."), EXAMPLES[:1])
    yes, blue, no = (plain(lm, "Think.", text, word) for word in ("yes", "blue", "not that I know"))
    assert isinstance(output, Likeliest)
    assert output.log_probabilities["yes"] == pytest.approx(normalized([np.logaddexp(yes, blue), no])[0], abs=1e-4)
    lm = local(labels={"yes": "yes", "no": "not that I know"}, examples=(), length_normalized=True)
    (output,) = lm.run(Prompt("Think."), EXAMPLES[:1])
    sizes = [len(lm._pages.tail(word).ids) - lm._pages.tail(word).first for word in ("yes", "not that I know")]
    assert sizes[1] > sizes[0]
    assert isinstance(output, Likeliest)
    wanted = normalized([yes / sizes[0], no / sizes[1]])
    assert list(output.log_probabilities.values()) == pytest.approx(wanted, abs=1e-4)


def test_what_stands_before_the_prompt_is_read_once_for_all_prompts() -> None:
    lm = local(labels=["7", "8"], examples=())
    lm.run(Prompt(PROMPTS[0]), EXAMPLES)
    before = lm.work["tokens"]
    again = lm.run(Prompt(PROMPTS[1]), EXAMPLES)
    cost = lm.work["tokens"] - before
    fresh = local(labels=["7", "8"], examples=())
    alone = fresh.run(Prompt(PROMPTS[1]), EXAMPLES)
    assert 2 * cost < fresh.work["tokens"]
    assert [one.log_probabilities for one in again] == [pytest.approx(one.log_probabilities, abs=1e-5) for one in alone]


def test_what_all_inputs_begin_with_is_read_once() -> None:
    alike = [Example("a", "Tom has 12 apples and eats 5.", "yes"), Example("b", "Tom has 12 apples and gives 3.", "no")]

    def read(*examples: Example) -> tuple[list[Any], int]:
        lm = local(labels=["7", "8"], examples=())
        return list(lm.run(Prompt(PROMPTS[0]), examples)), lm.work["tokens"]

    (together, cost), (one, first), (other, second) = read(*alike), read(alike[0]), read(alike[1])
    assert cost <= first + second - 4  # Tom has 12 apples
    for output, alone in zip(together, [*one, *other], strict=True):
        assert output.log_probabilities == pytest.approx(alone.log_probabilities, abs=1e-5)


def test_beginnings_that_do_not_fit_are_read_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = [one.log_probabilities for one in local().run(Prompt(PROMPTS[0]), EXAMPLES)]
    monkeypatch.setattr(likelihood.Beginnings.__init__, "__kwdefaults__", {"size": 40_000})
    lm = local(batch_size=2)
    for _ in range(2):
        found = [one.log_probabilities for one in lm.run(Prompt(PROMPTS[0]), EXAMPLES)]
        assert found == [pytest.approx(one, abs=1e-4) for one in wanted]
        assert lm._classifier._read.beginnings.bytes <= 40_000


def test_any_metric_of_classes_takes_the_outputs_and_the_record_shows_them() -> None:
    lm = local()
    for metric in (Accuracy(classes=LABELS), LogProbability(classes=LABELS[::-1])):
        (rating,) = MetricScorer(target=lm, metric=metric, examples=EXAMPLES).answer([Rate(Prompt("So"), cases=True)])
        outputs = lm.run(Prompt("So"), EXAMPLES)
        right = [float(one == example.label) for one, example in zip(outputs, EXAMPLES, strict=True)]
        logs = [one.log_probabilities[example.label] for one, example in zip(outputs, EXAMPLES, strict=True)]
        wanted = right if isinstance(metric, Accuracy) else logs
        assert rating.per_example is not None
        assert rating.per_example.tolist() == pytest.approx(wanted, abs=1e-5)
        assert rating.cases[0].output is not None
        assert rating.cases[0].output.startswith(f"{outputs[0]} ({outputs[0]} -")


def test_a_run_takes_labels_and_metrics_from_the_examples() -> None:
    target = {"name": "local-lm", "model": saved("llama", "byte-level", chat=False), "answers": "likelihood"}
    pool = {"name": "list", "prompts": PROMPTS}
    data = [(f"{n}+1", "yes" if n % 2 else "no") for n in range(8)]
    optimizer = {"name": "random-search", "pool": pool}
    result = optimize(start="So", target=target, data=data, optimizer=optimizer, budget=4, run=None)
    assert result.verdict is not None


def test_losses_are_those_of_the_label_s_own_word() -> None:
    lm = local()
    (losses,) = lm.losses(["So"], EXAMPLES[:2])
    for loss, example in zip(losses, EXAMPLES, strict=False):
        tail = lm._pages.tail(example.label)
        assert loss == pytest.approx(
            -plain(lm, "So", example.input, example.label) / (len(tail.ids) - tail.first), abs=1e-4
        )
    assert lm.step("So", 0, EXAMPLES[:2]).loss == pytest.approx(losses, abs=1e-4)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"labels": ["yes"], "examples": ()}, "two or more labels"),
        ({"labels": ["yes", "no", "yes"], "examples": ()}, "'yes' stands there twice"),
        ({"labels": {"a": "yes", "b": "yes"}, "examples": ()}, "'yes' stands there twice"),
        ({"labels": ["yes", " "], "examples": ()}, "two or more labels"),
        ({"labels": {"yes": [], "no": "no"}, "examples": ()}, "two or more labels"),
        ({"labels": ["yes", "no"]}, "example '2'.*none of those to choose among: yes, no"),
        ({"labels": None, "examples": [Example("a", "x", ["yes"]), EXAMPLES[1]]}, "each has one label"),
        ({"answers": "written"}, 'labels: this is for answers = "likelihood"'),
    ],
)
def test_labels_that_cannot_be_chosen_among_are_refused(options: dict[str, Any], match: str) -> None:
    with pytest.raises(UserError, match=match):
        local(**options)


def test_a_document_too_long_is_refused() -> None:
    with pytest.raises(UserError, match=f"longer than the {CONTEXT} tokens"):
        local().run(Prompt("So"), [Example("long", "apples " * CONTEXT, "yes")])


def test_memory_that_does_not_suffice_halves_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    read, sizes = likelihood.Likelihoods.read, []

    def crowded(self: Any, documents: Sequence[Any]) -> Any:
        sizes.append(len(documents))
        if len(documents) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return read(self, documents)

    wanted = local().run(Prompt("So"), EXAMPLES)
    monkeypatch.setattr(likelihood.Likelihoods, "read", crowded)
    assert local().run(Prompt("So"), EXAMPLES) == wanted
    assert sizes == [5, 2, 2, 1]


def test_memory_that_does_not_suffice_halves_the_batch_for_good(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = local().run(Prompt(PROMPTS[0]), EXAMPLES)
    read, sizes = likelihood.Likelihoods.read, []

    def crowded(self: Any, documents: Sequence[Any]) -> Any:
        sizes.append(len(documents))
        if len(documents) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return read(self, documents)

    monkeypatch.setattr(likelihood.Likelihoods, "read", crowded)
    lm = local()
    assert lm.run(Prompt(PROMPTS[0]), EXAMPLES) == wanted
    assert sizes == [5, 2, 2, 1]
    lm.run(Prompt(PROMPTS[0]), EXAMPLES)
    assert sizes[4:] == [2, 2, 1]
