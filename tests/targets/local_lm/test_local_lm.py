"""The local LM as a target, and where its prompts stand in documents."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("transformers")

import torch
from transformers import BertConfig, BertLMHeadModel

from promptopt.api import prepare
from promptopt.core import Example, Prompt
from promptopt.errors import ModelError, UnknownName, UserError
from promptopt.metrics.text import ExactMatch
from promptopt.models.local.reader import EMBEDDED
from promptopt.scorers import MetricScorer
from promptopt.targets.local_lm import LocalLM, Reasoned
from promptopt.targets.local_lm import generate as lm_generate
from promptopt.testing import FakeSetup
from promptopt.testing.contracts import TargetContract

from ..tiny_lms import CONTEXT, EXAMPLES, FIVE, TOKENIZERS, saved

PROMPT = "Think step by step."
TEMPLATES = {
    "after": "{input}\n{prompt}",
    "before": "{prompt}\n{input}",
    "inside": "Q: {input} {prompt} So",
    "tight": "{input}{prompt}{input}",
}


def local(kind: str = "llama", words: str = "byte-level", *, chat: bool = False, **options: Any) -> LocalLM:
    return LocalLM(model=saved(kind, words, chat=chat), **{"max_tokens": 6, "answer_tokens": 4, **options})


class TestLocalLM(TargetContract):
    prompts = (PROMPT, "Answer carefully.")
    bad_prompts = ("", " \n", "Think.<|end|>")

    def make(self) -> LocalLM:
        return local()

    def examples(self) -> Sequence[Example]:
        return EXAMPLES


class TestLocalLMThatDraws(TestLocalLM):
    def make(self) -> LocalLM:
        return local("gpt2", "sentencepiece", chat=True, temperature=1.0)


def test_tokens_are_counted_by_its_tokenizer() -> None:
    lm = local()
    plain = lm._pages.tokenizer(PROMPT, add_special_tokens=False).input_ids
    assert lm.count_tokens(PROMPT) == len(plain) > 1
    assert lm.count_tokens("") == 0


# ── Outputs ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_output_is_a_text_for_metrics() -> None:
    lm = local()
    outputs = lm.run(Prompt(PROMPT), EXAMPLES)
    assert all(isinstance(one, Reasoned) and one == one.text == one.strip() and "\n" not in one for one in outputs)
    assert all(np.isfinite([one.loss, one.nll]).all() for one in outputs)
    right = [Example(example.id, example.input, str(one)) for example, one in zip(EXAMPLES, outputs, strict=True)]
    (rating,) = MetricScorer(target=lm, metric=ExactMatch(), examples=right).answer([_rate(PROMPT)])
    assert rating.value == 1.0


def test_the_true_answer_is_the_first_of_several() -> None:
    lists = [Example(one.id, one.input, [one.label, "else"]) for one in EXAMPLES]
    losses = [[one.loss for one in local().run(Prompt(PROMPT), examples)] for examples in (EXAMPLES, lists)]
    np.testing.assert_allclose(*losses)
    assert not np.allclose(local().losses([PROMPT], [Example("a", EXAMPLES[0].input, "no")]), losses[0][0], atol=1e-2)


def test_a_number_is_an_answer_and_an_empty_label_is_not() -> None:
    assert local().losses([PROMPT], [Example("n", "2+2", 4)]) == local().losses([PROMPT], [Example("n", "2+2", "4")])
    with pytest.raises(UserError, match="empty label"):
        local().run(Prompt(PROMPT), [Example("n", "2+2", " ")])


def test_losses_and_nll_have_the_shapes_they_say() -> None:
    lm = local(batch_size=4)
    assert lm.losses([PROMPT, "Think"], EXAMPLES).shape == (2, len(EXAMPLES))
    nll = lm.nll(PROMPT, EXAMPLES)
    np.testing.assert_allclose(nll, [one.nll for one in lm.run(Prompt(PROMPT), EXAMPLES)], rtol=1e-4, atol=1e-4)
    first = local(template="{prompt} {input}")  # nothing stands before the first token: it is not predicted
    assert np.isfinite(first.nll(PROMPT, EXAMPLES)).all()
    assert first.nll("7", EXAMPLES).tolist() == [0.0] * len(EXAMPLES)


def test_without_reasoning_the_extractor_follows_the_prompt() -> None:
    outputs = local(max_tokens=0).run(Prompt(PROMPT), EXAMPLES)
    assert all(one.reasoning == "" and np.isfinite(one.loss) for one in outputs)


def test_a_reasoning_that_is_cut_is_counted() -> None:
    setup = FakeSetup()
    lm = local(max_tokens=2)
    lm.begin(setup)
    outputs = lm.run(Prompt(PROMPT), EXAMPLES)
    assert 0 < setup.counts["reasonings cut at max_tokens"] <= len(outputs)


def test_memory_that_does_not_suffice_halves_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = local().run(Prompt(PROMPT), EXAMPLES)
    complete = lm_generate.DocumentWriter.complete
    sizes = []

    def crowded(self: Any, jobs: Sequence[Any]) -> Any:
        sizes.append(len(jobs))
        if len(jobs) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return complete(self, jobs)

    monkeypatch.setattr(lm_generate.DocumentWriter, "complete", crowded)
    lm = local()
    assert lm.run(Prompt(PROMPT), EXAMPLES) == wanted
    assert sizes == [6, 3, 1, 1, 1, 1, 1, 1]
    lm.run(Prompt(PROMPT), EXAMPLES[:2])
    assert sizes[8:] == [1, 1]


def test_what_is_kept_of_reasoning_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("promptopt.targets.local_lm.REMEMBERED", 8)
    lm = local()
    for text in ("Think", PROMPT, "So", PROMPT):
        lm.run(Prompt(text), EXAMPLES)
    assert len(lm._memory) == 8
    assert {text for text, _ in lm._memory._kept} == {PROMPT, "So"}


def test_the_prompt_s_parent_gives_the_draft() -> None:
    lm = local()
    for text in ("Think", PROMPT):
        lm.run(Prompt(text), EXAMPLES)
    child = "Think step"
    assert lm._draft(Prompt(child), EXAMPLES[0]) == lm._memory._kept[PROMPT, "a"][1].ids
    assert lm._draft(Prompt(child, {"parents": ["Think"]}), EXAMPLES[0]) == lm._memory._kept["Think", "a"][1].ids
    assert lm._draft(Prompt(child), Example("new", "x", "y")) == ()


def test_a_device_map_and_bf16() -> None:
    pytest.importorskip("accelerate")
    mapped = local(device_map="auto").run(Prompt(PROMPT), EXAMPLES)
    if not torch.cuda.is_available():
        assert mapped == local().run(Prompt(PROMPT), EXAMPLES)
    half = local(dtype="bfloat16")
    assert np.isfinite(half.losses([PROMPT], EXAMPLES)).all()
    assert half.step(PROMPT, 1, EXAMPLES).gradient([5, 6]).shape == (len(EXAMPLES), 2)


# ── Where prompts stand ───────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("chat", [False, True], ids=["plain", "chat"])
@pytest.mark.parametrize("words", TOKENIZERS)
@pytest.mark.parametrize("place", TEMPLATES)
def test_the_prompt_s_tokens_cover_the_prompt_in_one_tokenisation(place: str, words: str, chat: bool) -> None:
    lm = local("llama", words, chat=chat, template=TEMPLATES[place])
    tokenizer = lm._pages.tokenizer
    for prompt in (
        PROMPT,
        "Think",
        " Think ",
        "So\n\n10",
        "naïve 5 €",
        "{input} {x!r}",
        "Therefore, the final answer is $",
    ):
        for example, head in zip(EXAMPLES, lm._pages.heads([(prompt, one) for one in EXAMPLES]), strict=True):
            text = TEMPLATES[place].replace("{input}", "\0").replace("{prompt}", prompt).replace("\0", example.input)
            if place == "tight":
                text = f"{example.input}{prompt}{example.input}"
            if chat:
                turns = [{"role": "user", "content": text}]
                text = tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
            encoded = tokenizer(text, add_special_tokens=not chat, return_offsets_mapping=True)
            assert list(head.ids) == encoded["input_ids"]
            offsets = encoded["offset_mapping"]
            kept = prompt.strip() if chat else prompt
            places = [i for i in range(len(text)) if text.startswith(kept, i)]
            covered = range(offsets[head.first][0], offsets[head.stop - 1][1])
            assert any(
                covered.start <= i + kept.index(kept.strip()) and i + len(kept.rstrip()) <= covered.stop for i in places
            )
            assert head.stop - head.first <= len(prompt.encode()) + 1


@pytest.mark.parametrize("chat", [False, True], ids=["plain", "chat"])
@pytest.mark.parametrize("words", TOKENIZERS)
@pytest.mark.parametrize("place", ["after", "before", "inside"])
def test_a_replaced_token_survives_in_its_place_or_is_dropped(place: str, words: str, chat: bool) -> None:
    lm = local("llama", words, chat=chat, template=TEMPLATES[place])
    tokens = lm.tokens(PROMPT)
    everything = range(len(lm.vocabulary))
    for position in range(len(tokens) + 1):
        texts = lm.replaced(PROMPT, position, everything)
        survivors = {token: text for token, text in enumerate(texts) if text is not None}
        assert len(survivors) > 50
        assert len(set(survivors.values())) == len(survivors)
        for token, text in survivors.items():
            assert lm.tokens(text) == [*tokens[:position], token, *tokens[position + 1 :]]
            assert lm.problem_with(Prompt(text)) is None
        if position < len(tokens):
            assert survivors[tokens[position]] == PROMPT


def test_what_a_replaced_token_says_is_in_the_vocabulary() -> None:
    lm = local()
    number = {text: i for i, text in enumerate(lm.vocabulary)}
    assert lm.replace(PROMPT, 1, number[" apples"]) == "Think apples by step."
    assert lm.replace(PROMPT, 5, number[" answer"]) == "Think step by step. answer"
    assert lm.replace(PROMPT, 4, number[","]) == "Think step by step,"
    assert lm.replace(PROMPT, 1, number["s"]) is None or lm.tokens("Thinks by step.")[1] == number["s"]
    special = lm._pages.tokenizer.convert_tokens_to_ids("<|end|>")
    assert lm.replace(PROMPT, 1, special) is None
    assert lm.vocabulary[special] == ""
    with pytest.raises(ValueError, match="position 6"):
        lm.replace(PROMPT, 6, 7)


def labelled(*labels: Any) -> list[Example]:
    return [Example(str(i), "a question", label) for i, label in enumerate(labels)]


NUMBERS = [["7", "-3.5", "1,000", "$5", "50%", ".5", " 12 "], [["7", "seven"]], [7, 2.5]]
WORDS = [["positive", "negative"], ["7", "yes"], ["4 apples"], [""], [["seven", "7"]], [None], []]


@pytest.mark.parametrize("labels", [*NUMBERS, *WORDS], ids=str)
def test_the_default_extractor_suits_the_labels(labels: list[Any]) -> None:
    lm = local(examples=labelled(*labels))
    assert lm._pages.extractor.endswith("$") == (labels in NUMBERS)
    assert lm._pages.extractor.startswith("\nTherefore, the final answer is")
    assert local(examples=labelled(*labels), extractor="So ")._pages.extractor == "So "


def test_the_embedded_lm_is_asked_as_it_was_trained() -> None:
    for model in ("embedded", EMBEDDED, str(EMBEDDED)):
        lm = LocalLM(model=model, examples=labelled("yes", "no"))
        assert lm._pages.extractor == "\nTherefore, the final answer is $"


def test_a_recipe_s_labels_choose_the_extractor(tmp_path: Path) -> None:
    asked = []
    for labels in (["7", "8"], ["good", "bad"]):
        data = tmp_path / "data.csv"
        data.write_text("input,label\n" + "".join(f"question {i},{label}\n" for i, label in enumerate(labels * 8)))
        plan = prepare(
            {
                "start": "Think.",
                "data": {"name": "table", "path": str(data), "test": 0},
                "target": {"name": "local-lm", "model": str(saved("llama", "byte-level"))},
                "optimizer": "greater",
                "verdict": False,
            }
        )
        assert isinstance(plan.target, LocalLM)
        asked.append(plan.target._pages.extractor[-1])
    assert asked == ["$", "\n"]


def test_a_question_that_quotes_the_extractor_or_the_prompt_is_not_searched() -> None:
    quoting = Example("q", f"{PROMPT} Therefore, the final answer is $5. {{prompt}}", "7")
    lm = local(template="{input}\n{prompt}\nSo")
    head = lm._pages.heads([(PROMPT, quoting)])[0]
    text = f"{quoting.input}\n{PROMPT}\nSo"
    offsets = lm._pages.tokenizer(text, return_offsets_mapping=True)["offset_mapping"]
    assert offsets[head.first][0] == text.rindex(PROMPT)
    (output,) = lm.run(Prompt(PROMPT), [quoting])
    assert "5." not in output.reasoning or output.reasoning


@pytest.mark.parametrize("kind", FIVE)
def test_prompts_before_after_and_inside_all_run(kind: str) -> None:
    for template in TEMPLATES.values():
        outputs = local(kind, template=template, max_tokens=3).run(Prompt(PROMPT), EXAMPLES[:3])
        assert np.isfinite([one.loss for one in outputs]).all()


def test_the_fields_of_an_input_have_placeholders_of_their_own() -> None:
    lm = local(template="{prompt} {a} and {b}")
    whole = local(template="{prompt} {input}")
    one = lm.losses([PROMPT], [Example("x", {"a": "{b}", "b": "5"}, "7")])
    np.testing.assert_allclose(one, whole.losses([PROMPT], [Example("x", "{b} and 5", "7")]), rtol=1e-5)
    with pytest.raises(UnknownName, match="placeholder 'c'"):
        local(template="{prompt} {c}").run(Prompt(PROMPT), [Example("x", {"a": "1"}, "7")])


# ── Mistakes ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_tokens": -1}, "max_tokens is -1"),
        ({"answer_tokens": 0}, "answer_tokens is 0"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"temperature": -0.5}, "temperature is -0.5"),
        ({"temperature": float("nan")}, "temperature is nan"),
        ({"template": "{input}"}, "{prompt} once"),
        ({"template": "{prompt}"}, "{prompt} once"),
        ({"template": "{prompt} {input} {prompt}"}, "{prompt} once"),
    ],
)
def test_wrong_arguments(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        LocalLM(model="somebody/something", **options)


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such folder"):
        LocalLM(model=tmp_path / "nothing")


def test_a_chat_template_that_is_not_there() -> None:
    with pytest.raises(UserError, match="chat_template is true"):
        local(chat_template=True).problem_with(Prompt(PROMPT))
    assert local(chat=True, chat_template=False).tokens(PROMPT) == local().tokens(PROMPT)


def test_a_tokenizer_that_is_not_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("transformers.PreTrainedTokenizerFast.is_fast", False)
    with pytest.raises(UserError, match="not a fast one"):
        local().tokens(PROMPT)


def test_a_model_that_is_built_otherwise(tmp_path: Path) -> None:
    size = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    bert = BertLMHeadModel(BertConfig(vocab_size=420, **size, is_decoder=True))
    folder = tmp_path / "bert"
    shutil.copytree(saved("llama", "byte-level"), folder, ignore=shutil.ignore_patterns("*.safetensors", "config.json"))
    bert.save_pretrained(folder)
    with pytest.raises(UserError, match="BertLMHeadModel is not built like"):
        LocalLM(model=folder, max_tokens=2).run(Prompt(PROMPT), EXAMPLES)


def test_a_document_that_is_too_long() -> None:
    long = Example("long", "2+2 " * 200, "4")
    with pytest.raises(UserError, match=rf"'long'.*more than the {CONTEXT} tokens"):
        local().run(Prompt(PROMPT), [*EXAMPLES, long])


def test_a_chat_template_that_rewrites_what_it_is_given() -> None:
    lm = local(chat=True)
    lm._pages.tokenizer.chat_template = "{% for m in messages %}{{ m.content | upper }}{% endfor %}"
    with pytest.raises(ModelError, match="rewrites"):
        lm.tokens(PROMPT)


def _rate(text: str) -> Any:
    from promptopt.core import Rate

    return Rate(Prompt(text))
