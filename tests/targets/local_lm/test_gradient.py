"""Proposals and token gradients of the local LM: against finite differences and against one example at a time."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("transformers")

import torch
import torch.nn.functional as F

from promptopt.core import Example, Prompt
from promptopt.errors import UserError
from promptopt.targets.local_lm import LocalLM

from ..tiny_lms import CONFIGS, EXAMPLES, FIVE, SPEEDUPS, TOKENIZERS, saved, slowed

PROMPT = "Think step by step."
WEIGHT = 0.2
GRID = [(kind, words) for kind in CONFIGS for words in TOKENIZERS if kind in FIVE or words == "byte-level"]


def document(lm: LocalLM, example: Example, *, with_reasoning: bool = True) -> tuple[list[int], int, range, range]:
    """The ids, where the prompt begins, and the ranges of prompt and answer; put together without the target."""
    words = lm._reader.tokenizer
    text = f"{example.input}\n{PROMPT}"
    templated = words.chat_template is not None
    if templated:
        text = words.apply_chat_template(
            [{"role": "user", "content": text}], add_generation_prompt=True, tokenize=False
        )
    encoded = words(text, add_special_tokens=not templated, return_offsets_mapping=True)
    start = text.index(PROMPT)
    inside = [
        i for i, (a, b) in enumerate(encoded["offset_mapping"]) if a < b and b > start and a < start + len(PROMPT)
    ]
    reasoning = lm._memory._kept[PROMPT, example.id][1].tokens if with_reasoning else ()
    extractor = "\nTherefore, the final answer is:\n"
    anchor, asked, tail = (
        words(f"a{text}", add_special_tokens=False)["input_ids"] for text in ("", extractor, extractor + example.label)
    )
    asked, tail = asked[len(anchor) :], tail[len(anchor) :]
    assert tail[: len(asked)] == asked
    ids = [*encoded["input_ids"], *reasoning, *tail]
    return ids, inside[0], range(inside[0], inside[-1] + 1), range(len(ids) - len(tail) + len(asked), len(ids))


def relaxed_loss(
    model: Any,
    ids: Sequence[int],
    place: int,
    entering: torch.Tensor,
    prompt: range,
    answer: range,
    temperature: float = 1.0,
) -> float:
    """Loss and weighted NLL of a document in float64, with another embedding at one place."""
    embeds = model.get_input_embeddings()(torch.tensor([list(ids)]))
    embeds[0, place] = entering
    logits = model(inputs_embeds=embeds, use_cache=False).logits[0]
    losses = F.cross_entropy(logits[:-1], torch.tensor(ids[1:]), reduction="none")
    sharp = F.cross_entropy(logits[:-1] / temperature, torch.tensor(ids[1:]), reduction="none")
    loss = sharp[answer.start - 1 :].mean() + WEIGHT * losses[prompt.start - 1 : prompt.stop - 1].mean()
    return float(loss)


@pytest.mark.parametrize(
    ("kind", "words", "temperature"), [*((*pair, 1.0) for pair in GRID), *((kind, "byte-level", 0.2) for kind in FIVE)]
)
def test_gradients_are_finite_differences_of_the_loss(kind: str, words: str, temperature: float) -> None:
    chat = words == "sentencepiece"
    lm = LocalLM(model=saved(kind, words, chat=chat), max_tokens=6)
    rng = np.random.default_rng(0)
    for position in range(len(lm.tokens(PROMPT))):
        step = lm.step(PROMPT, position, EXAMPLES[:3], perplexity_weight=WEIGHT, answer_temperature=temperature)
        candidates = rng.choice(len(lm.vocabulary), size=2, replace=False).tolist()
        gradient = step.gradient([*candidates, lm.tokens(PROMPT)[position]])
        body, _ = lm._weights
        model = body.model.double()
        for i, example in enumerate(EXAMPLES[:3]):
            ids, first, prompt, answer = document(lm, example)
            place = first + position
            now, *others = model.get_input_embeddings()(torch.tensor([ids[place], *candidates]))
            for k, other in enumerate(others):
                h = 1e-3  # parts of some models compute in fp32 whatever their weights are
                up, down = (
                    relaxed_loss(model, ids, place, now + sign * h * (other - now), prompt, answer, temperature)
                    for sign in (1, -1)
                )
                expected = (up - down) / (2 * h)
                assert gradient[i, k] - gradient[i, -1] == pytest.approx(expected, rel=5e-3, abs=5e-3 / temperature)
        body.model.float()


@pytest.mark.study
@pytest.mark.parametrize(("kind", "words"), GRID)
@pytest.mark.parametrize("with_reasoning", [True, False])
def test_a_batch_and_every_speed_up_equal_one_example_at_a_time(kind: str, words: str, with_reasoning: bool) -> None:
    folder = saved(kind, words)
    one = slowed(LocalLM(model=folder, max_tokens=8), *SPEEDUPS)
    position = len(one.tokens(PROMPT)) // 2
    options: dict[str, Any] = {"with_reasoning": with_reasoning, "perplexity_weight": WEIGHT}
    alone = [one.step(PROMPT, position, [example], **options) for example in EXAMPLES]
    for batch_size, *off in ((128,), (128, "reuse_prefix"), (128, "one_pass"), (128, "keep_reasoning"), (4,)):
        lm = slowed(LocalLM(model=folder, max_tokens=8, batch_size=batch_size), *off)
        lm.run(Prompt(PROMPT), EXAMPLES)
        step = lm.step(PROMPT, position, EXAMPLES, **options)
        np.testing.assert_allclose(step.loss, [a.loss[0] for a in alone], rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(step.gradient(), np.concatenate([a.gradient() for a in alone]), rtol=1e-3, atol=1e-4)
        everything = range(len(lm.vocabulary))
        both = step.log_probabilities(everything), np.concatenate([a.log_probabilities(everything) for a in alone])
        np.testing.assert_allclose(*both, rtol=1e-4, atol=1e-4)
        assert (step.top(12) == np.concatenate([a.top(12) for a in alone])).all()


@pytest.mark.parametrize("kind", FIVE)
def test_proposals_are_the_models_next_tokens(kind: str) -> None:
    lm = LocalLM(model=saved(kind, "byte-level"), max_tokens=3)
    step = lm.step(PROMPT, 2, EXAMPLES)
    body, _ = lm._weights
    for i, example in enumerate(EXAMPLES):
        ids, first, *_ = document(lm, example)
        with torch.no_grad():
            logits = body.model(input_ids=torch.tensor([ids[: first + 2]])).logits[0, -1]
        assert step.top(10)[i].tolist() == logits.topk(10).indices.tolist()
        expected = logits.log_softmax(dim=-1)[[5, 50]].numpy()
        np.testing.assert_allclose(step.log_probabilities([5, 50])[i], expected, rtol=1e-4, atol=1e-4)


def test_without_a_gradient_the_proposals_and_losses_are_the_same() -> None:
    lm = LocalLM(model=saved("llama", "byte-level"), max_tokens=3)
    with_it = lm.step(PROMPT, 2, EXAMPLES)
    before = lm.work["backwards"]
    without = lm.step(PROMPT, 2, EXAMPLES, with_gradient=False)
    assert lm.work["backwards"] == before
    np.testing.assert_array_equal(without.loss, with_it.loss)
    np.testing.assert_array_equal(without.top(10), with_it.top(10))
    assert np.isnan(without.gradient([5, 50])).all()
    assert not np.isnan(with_it.gradient([5, 50])).any()


def test_the_loss_is_that_of_the_outputs_and_the_ablation_has_its_own() -> None:
    lm = LocalLM(model=saved("llama", "byte-level"), max_tokens=8)
    outputs = lm.run(Prompt(PROMPT), EXAMPLES)
    before = lm.work["forwards"]
    step = lm.step(PROMPT, 1, EXAMPLES)
    assert lm.work["forwards"] - before == 2  # what stands before, and the rest; nothing was written again
    assert lm.work["backwards"] == 1
    np.testing.assert_allclose(step.loss, [output.loss for output in outputs], rtol=1e-4, atol=1e-4)
    bare = lm.step(PROMPT, 1, EXAMPLES, with_reasoning=False)
    none = LocalLM(model=saved("llama", "byte-level"), max_tokens=0).run(Prompt(PROMPT), EXAMPLES)
    np.testing.assert_allclose(bare.loss, [output.loss for output in none], rtol=1e-4, atol=1e-4)
    assert not np.allclose(bare.loss, step.loss, atol=1e-2)


@pytest.mark.parametrize("weight", [0.0, WEIGHT])
def test_the_answer_temperature_changes_the_gradient_and_not_the_loss(weight: float) -> None:
    lm = LocalLM(model=saved("llama", "byte-level"), max_tokens=8)
    usual, one, sharp = (
        lm.step(PROMPT, 1, EXAMPLES, perplexity_weight=weight, **more)
        for more in ({}, {"answer_temperature": 1.0}, {"answer_temperature": 0.2})
    )
    np.testing.assert_array_equal(usual.gradient(), one.gradient())
    np.testing.assert_allclose(sharp.loss, usual.loss, rtol=1e-6)
    assert not np.allclose(sharp.gradient(), usual.gradient(), atol=1e-2)
    alone = [lm.step(PROMPT, 1, [x], perplexity_weight=weight, answer_temperature=0.2).gradient() for x in EXAMPLES]
    np.testing.assert_allclose(sharp.gradient(), np.concatenate(alone), rtol=1e-3, atol=1e-3)


def test_a_position_that_is_not_there() -> None:
    lm = LocalLM(model=saved("llama", "byte-level"), max_tokens=2)
    with pytest.raises(ValueError, match="position 9 in a prompt of 5 tokens"):
        lm.step(PROMPT, 9, EXAMPLES)
    first = LocalLM(model=saved("llama", "byte-level"), max_tokens=2, template="{prompt}\n{input}")
    with pytest.raises(UserError, match="nothing proposes it"):
        first.step(PROMPT, 0, EXAMPLES)
    assert first.step(PROMPT, 1, EXAMPLES).top(3).shape == (len(EXAMPLES), 3)


def test_the_mean_over_the_prompt_leaves_out_a_first_token_that_nothing_predicts() -> None:
    """The prompt begins the document, and there is no token that begins documents: of 5 tokens 4 have an NLL."""
    lm = LocalLM(model=saved("llama", "byte-level"), max_tokens=0, template="{prompt}\n{input}")
    both, alone = (lm.step(PROMPT, 1, EXAMPLES[:1], perplexity_weight=weight) for weight in (1.0, 0.0))
    (head,) = lm._pages.heads([(PROMPT, EXAMPLES[0])])
    assert (head.first, head.stop) == (0, 5)
    body, _ = lm._weights
    embeds = body.embed(torch.tensor([head.ids])).requires_grad_()
    logits = body.model(inputs_embeds=embeds, use_cache=False).logits[0]
    nll = F.cross_entropy(logits[: head.stop - 1], torch.tensor(head.ids[1 : head.stop]))
    assert nll.item() == pytest.approx(lm.nll(PROMPT, EXAMPLES[:1])[0], rel=1e-4)
    (slope,) = torch.autograd.grad(nll, embeds)
    wanted = body.embed(torch.arange(50)) @ slope[0, 1]
    np.testing.assert_allclose((both.gradient(range(50)) - alone.gradient(range(50)))[0], wanted, rtol=1e-3, atol=1e-3)


def test_a_tokenizer_may_know_more_tokens_than_the_model(tmp_path: Path) -> None:
    shutil.copytree(saved("llama", "byte-level"), tmp_path / "longer")
    words = TOKENIZERS["byte-level"]()
    size = len(words)
    words.add_tokens(["zzq", "qzz"])
    words.save_pretrained(tmp_path / "longer")
    lm = LocalLM(model=tmp_path / "longer", max_tokens=0)
    step = lm.step(PROMPT, 1, EXAMPLES[:2])
    assert len(lm.vocabulary) == size + 2
    assert lm.vocabulary[size:] == ("", "")
    known = step.gradient(range(size))
    assert np.isfinite(known).all()
    np.testing.assert_array_equal(step.gradient(), np.pad(known, ((0, 0), (0, 2)), constant_values=np.nan))
    assert np.isnan(step.log_probabilities([1, size + 1])).tolist() == [[False, True]] * 2
    assert step.top(3).max() < size
    assert lm.problem_with(Prompt(PROMPT)) is None
    assert (
        lm.problem_with(Prompt("Think zzq.")) == "it contains 'zzq', which the tokenizer knows and the model does not."
    )


def test_an_example_in_which_the_token_is_merged_is_left_out() -> None:
    lm = LocalLM(model=saved("llama", "byte-level"), max_tokens=2, template="{input_}: {prompt}{after}")
    merged, whole = (Example(id, {"input_": "So", "after": after}, "7") for id, after in (("m", "s"), ("w", " 5")))
    prompt = "Tom has apple"  # "apples" is one token, "apple" two
    last = len(lm.tokens(prompt)) - 1
    assert np.isfinite(lm.step(prompt, 0, [merged, whole]).loss).all()
    step = lm.step(prompt, last, [merged, whole])
    assert np.isnan(step.loss).tolist() == [True, False]
    assert np.isnan(step.gradient([5, 6])).all(axis=1).tolist() == [True, False]
    assert (step.top(4) == -1).all(axis=1).tolist() == [True, False]
    assert np.isfinite(step.gradient([5, 6])[1]).all()


def test_a_token_that_is_merged_in_every_example_has_no_gradient() -> None:
    lm = LocalLM(model=saved("llama", "byte-level"), max_tokens=2, template="{input_}: {prompt}{after}")
    merged = [Example(f"m{i}", {"input_": "So", "after": "s"}, "7") for i in range(2)]
    prompt = "Tom has apple"
    step = lm.step(prompt, len(lm.tokens(prompt)) - 1, merged)
    assert np.isnan(step.loss).tolist() == [True, True]
    assert np.isnan(step.gradient([5, 6])).all()
    assert step.gradient().shape == (2, len(lm.vocabulary))
    assert np.isnan(step.log_probabilities([5, 6, 7])).all()
    assert step.top(4).tolist() == [[-1] * 4] * 2


def test_the_weights_and_the_tokenizer_stay_as_they_were() -> None:
    lm = LocalLM(model=saved("qwen3", "byte-level"), max_tokens=8)
    lm.tokens(PROMPT)
    words = lm._reader.tokenizer
    body, _ = lm._weights
    state = {name: value.clone() for name, value in body.model.state_dict().items()}
    before = words.backend_tokenizer.to_str(), words.pad_token, words.padding_side, dict(words.special_tokens_map)
    lm.run(Prompt(PROMPT), EXAMPLES)
    lm.step(PROMPT, 1, EXAMPLES, perplexity_weight=WEIGHT)
    lm.replaced(PROMPT, 1, range(50))
    assert before == (
        words.backend_tokenizer.to_str(),
        words.pad_token,
        words.padding_side,
        dict(words.special_tokens_map),
    )
    assert all(torch.equal(value, state[name]) for name, value in body.model.state_dict().items())
    assert not any(parameter.requires_grad or parameter.grad is not None for parameter in body.model.parameters())
