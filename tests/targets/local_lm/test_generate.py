"""The local LM against a plain loop over a whole model, one document at a time, without cache, padding or batches."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest

pytest.importorskip("transformers")

import torch
import torch.nn.functional as F
from transformers import AutoModelForCausalLM, AutoTokenizer

from promptopt.core import Example, Prompt
from promptopt.targets.local_lm import LocalLM, Reasoned
from promptopt.targets.local_lm import generate as lm_generate
from promptopt.targets.local_lm.loss import agreeing

from ..tiny_lms import CONFIGS, EXAMPLES, FIVE, SPEEDUPS, TOKENIZERS, saved, slowed

PROMPTS = [
    "Think step by step.",
    "Think",
    "Use proper logic and give the correct answer",
    "So 10",
    "Answer carefully. 7",
]
GRID = [(kind, words) for kind in CONFIGS for words in TOKENIZERS if kind in FIVE or words == "byte-level"]


@cache
def plain(kind: str, words: str, chat: bool) -> tuple[Any, Any]:
    folder = saved(kind, words, chat=chat)
    return AutoModelForCausalLM.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)


class Plain:
    """What the target should compute, written down as simply as can be."""

    extractor = "\nTherefore, the final answer is:\n"

    def __init__(self, kind: str, words: str, *, chat: bool, max_tokens: int, extractor: str = extractor) -> None:
        self.model, self.words = plain(kind, words, chat)
        self.chat, self.max_tokens, self.extractor = chat, max_tokens, extractor
        self.ends = set(self.model.generation_config.eos_token_id)

    def logits(self, ids: list[int]) -> torch.Tensor:
        with torch.no_grad():
            logits: torch.Tensor = self.model(input_ids=torch.tensor([ids]), use_cache=False).logits[0]
        return logits

    def text(self, ids: list[int]) -> str:
        text: str = self.words.decode(ids, skip_special_tokens=True)
        return text

    def behind(self, text: str) -> list[int]:
        whole, anchor = (self.words(one, add_special_tokens=False)["input_ids"] for one in (f"a{text}", "a"))
        assert whole[: len(anchor)] == anchor
        rest: list[int] = whole[len(anchor) :]
        return rest

    def write(self, ids: list[int], *, limit: int, line: bool) -> tuple[list[int], list[int]]:
        """All that the model writes, and what counts of it."""
        written: list[int] = []
        while len(written) < limit:
            written.append(int(self.logits([*ids, *written])[-1].argmax()))
            text = self.text(written)
            if written[-1] in self.ends:
                return written, written[:-1]
            if line and "\n" in text.lstrip():
                break
            if not line and self.extractor.strip() in text:
                place = text.index(self.extractor.strip())
                return written, max(
                    (written[:n] for n in range(len(written)) if len(self.text(written[:n])) <= place), key=len
                )
        return written, written

    def run(self, prompt: str, example: Example) -> tuple[str, str, bool, float]:
        text = f"{example.input}\n{prompt}"
        if self.chat:
            text = self.words.apply_chat_template(
                [{"role": "user", "content": text}], add_generation_prompt=True, tokenize=False
            )
        head = self.words(text, add_special_tokens=not self.chat)["input_ids"]
        _, reasoning = self.write(head, limit=self.max_tokens, line=False)
        asked = [*head, *reasoning, *self.behind(self.extractor)]
        full = [*head, *reasoning, *self.behind(self.extractor + example.label)]
        n = next(i for i in range(len(asked) + 1) if full[:i] != asked[:i] or i == len(asked))
        first = n if full[:n] == asked[:n] else n - 1  # a token that reaches over the seam is the answer's
        # a space at the end of the extractor is the answer's to write, where it is in the true answer's first token
        _, answer = self.write(full[:first] if self.extractor.endswith(" ") else asked, limit=16, line=True)
        logits, right = self.logits(full)[first - 1 : -1], torch.tensor(full[first:])
        mistaken = bool((logits.argmax(dim=-1) != right).any())
        lines = self.text(answer).strip().splitlines()
        return (
            lines[0].strip() if lines else "",
            self.text(reasoning),
            mistaken,
            F.cross_entropy(logits, right).item(),
        )


def fields(outputs: list[Reasoned]) -> list[tuple[str, str, bool]]:
    return [(output.text, output.reasoning, output.mistaken) for output in outputs]


@pytest.mark.study
@pytest.mark.parametrize(("kind", "words"), GRID)
@pytest.mark.parametrize("chat", [False, True], ids=["plain", "chat"])
def test_outputs_equal_a_plain_loop(kind: str, words: str, chat: bool) -> None:
    lm = LocalLM(model=saved(kind, words, chat=chat), max_tokens=14)
    simple = Plain(kind, words, chat=chat, max_tokens=14)
    row, _ = lm.run_batch([Prompt(text) for text in PROMPTS[:2]], EXAMPLES)
    wanted = [simple.run(PROMPTS[0], example) for example in EXAMPLES]
    assert fields(row) == [tuple(rest) for *rest, _ in wanted]
    np.testing.assert_allclose([one.loss for one in row], [loss for *_, loss in wanted], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("words", TOKENIZERS)
@pytest.mark.parametrize("extractor", ["\ne", "\nis $ "])
def test_an_extractor_that_the_model_writes_itself_ends_the_reasoning(words: str, extractor: str) -> None:
    lm = LocalLM(model=saved("llama", words), max_tokens=40, extractor=extractor)
    simple = Plain("llama", words, chat=False, max_tokens=40, extractor=extractor)
    (row,) = lm.run_batch([Prompt(PROMPTS[0])], EXAMPLES)
    wanted = [simple.run(PROMPTS[0], example) for example in EXAMPLES]
    assert fields(row) == [tuple(rest) for *rest, _ in wanted]
    np.testing.assert_allclose([one.loss for one in row], [loss for *_, loss in wanted], rtol=1e-4, atol=1e-4)
    assert all(extractor.strip() not in one.reasoning for one in row)
    if extractor == "\ne":
        assert any(len(one.reasoning) < len(other.reasoning) for one, other in zip(row, unended(words), strict=True))


def unended(words: str) -> list[Reasoned]:
    return LocalLM(model=saved("llama", words), max_tokens=40).run(Prompt(PROMPTS[0]), EXAMPLES)


@pytest.mark.study
@pytest.mark.parametrize(("kind", "words"), [(kind, words) for kind, words in GRID if kind in FIVE])
def test_every_speed_up_and_batch_size_gives_the_same(kind: str, words: str) -> None:
    prompts = [Prompt(text, {"parents": [PROMPTS[0]]}) for text in PROMPTS]
    folder = saved(kind, words)
    wanted = [output for prompt in prompts for output in slow(kind, words).run(prompt, EXAMPLES)]
    for batch_size, *off in ((128,), (7, "reuse_prefix"), (128, "use_drafts")):
        fast = slowed(LocalLM(model=folder, max_tokens=10, answer_tokens=6, batch_size=batch_size), *off)
        fast.run(prompts[0], EXAMPLES[:4])  # some drafts are there, others not
        compare([output for row in fast.run_batch(prompts, EXAMPLES) for output in row], wanted)


@cache
def slow(kind: str, words: str) -> LocalLM:
    return slowed(LocalLM(model=saved(kind, words), max_tokens=10, answer_tokens=6, batch_size=1), *SPEEDUPS)


def compare(got: list[Reasoned], wanted: list[Reasoned]) -> None:
    assert fields(got) == fields(wanted)
    for name in ("loss", "nll"):
        one, other = ([getattr(output, name) for output in outputs] for outputs in (got, wanted))
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)


class Spoilt(LocalLM):
    """Takes as a draft what it wrote before for the same document, cut, continued or changed somewhere."""

    def _draft(self, prompt: Prompt, example: Example) -> tuple[int, ...]:
        kept = self._memory._kept.get((prompt.text, example.id))
        if kept is None:
            return ()
        ids, spot = kept[1].ids, self.rng.integers(len(kept[1].ids) + 1)
        match self.rng.integers(5):
            case 0:
                return ids
            case 1:
                return ids[:spot]
            case 2:
                return (*ids, 11, 12, 13)
            case _:
                return (*ids[:spot], int(self.rng.integers(6, 90)), *ids[spot + 1 :])

    rng = np.random.default_rng(0)


@pytest.mark.study
@pytest.mark.parametrize(("kind", "words"), [(kind, words) for kind in FIVE for words in TOKENIZERS])
def test_drafts_change_nothing_whether_right_cut_long_or_wrong(
    kind: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, int]] = []

    def spy(body: Any, read: Any, starts: Any, drafts: Any, **more: Any) -> list[int]:
        accepted = agreeing(body, read, starts, drafts, **more)
        if not more:  # of the reasoning, not of the answer
            seen.extend(zip(accepted, map(len, drafts), strict=True))
        return accepted

    prompts = [Prompt(text) for text in PROMPTS]
    wanted = [output for prompt in prompts for output in slow(kind, words).run(prompt, EXAMPLES)]
    lm = Spoilt(model=saved(kind, words), max_tokens=10, answer_tokens=6)
    list(lm.run_batch(prompts, EXAMPLES))
    monkeypatch.setattr(lm_generate, "agreeing", spy)
    for _ in range(3):
        compare([output for row in lm.run_batch(prompts, EXAMPLES) for output in row], wanted)
    assert len(seen) == 3 * len(wanted)
    assert any(n == size > 0 for n, size in seen)
    assert any(0 < n < size for n, size in seen)


@pytest.mark.parametrize("words", TOKENIZERS)
def test_what_is_drawn_does_not_depend_on_the_batch(words: str) -> None:
    folder, prompts = saved("llama", words), [Prompt(text) for text in PROMPTS[:2]]
    drawn = LocalLM(model=folder, max_tokens=6, answer_tokens=3, temperature=1.0, seed=0)
    wanted = [output for row in drawn.run_batch(prompts, EXAMPLES) for output in row]
    again = LocalLM(model=folder, max_tokens=6, answer_tokens=3, temperature=1.0, seed=0, batch_size=1)
    slowed(again, *SPEEDUPS)
    compare([again.run(prompt, [example])[0] for prompt in prompts[::-1] for example in EXAMPLES[::-1]][::-1], wanted)
    other = LocalLM(model=folder, max_tokens=6, answer_tokens=3, temperature=1.0, seed=1).run(prompts[0], EXAMPLES)
    assert fields(other) != fields(wanted[: len(EXAMPLES)])
    cold = LocalLM(model=folder, max_tokens=6, temperature=1e-6).run(prompts[0], EXAMPLES)
    assert fields(cold) == fields(LocalLM(model=folder, max_tokens=6).run(prompts[0], EXAMPLES))


def test_draws_follow_the_probabilities() -> None:
    lm = LocalLM(model=saved("llama", "byte-level"), max_tokens=1, temperature=1.0)
    simple = Plain("llama", "byte-level", chat=False, max_tokens=1)
    head = simple.words(f"{EXAMPLES[0].input}\nThink")["input_ids"]
    expected = simple.logits(head)[-1].softmax(dim=-1)
    n = 400
    copies = [Example(f"{i}", EXAMPLES[0].input, "7") for i in range(n)]
    lm.run(Prompt("Think"), copies)
    first = [lm._memory._kept["Think", one.id][1].ids[0] for one in copies]
    likely = expected.topk(3)
    for token, p in zip(likely.indices.tolist(), likely.values.tolist(), strict=True):
        assert abs(first.count(token) - n * p) < 4 * np.sqrt(n * p * (1 - p)) + 1
