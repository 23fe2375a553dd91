"""The probability of yes from the logits of a local model that sees."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

pytest.importorskip("transformers")

import torch
from picture_parts import image
from transformers import AutoModelForImageTextToText, AutoProcessor

from promptopt.core import Example, Prompt, Rate
from promptopt.models.local import Local
from promptopt.scorers.judge.vqa import VqaScore
from promptopt.targets.function import Function
from promptopt.testing import FakeSetup

from ...models.tiny_lm import save_llava

WISH = "a cat"
QUESTION = f'Does this figure show "{WISH}"? Please answer yes or no.'


def by_hand(folder: Path, words: Sequence[str]) -> list[float]:
    """The probability of each word behind the question and the picture, token by token, with transformers alone."""
    processor = AutoProcessor.from_pretrained(folder)
    model = AutoModelForImageTextToText.from_pretrained(folder).eval()
    turn = [{"role": "user", "content": [{"type": "image", "image": image(0)}, {"type": "text", "text": QUESTION}]}]
    given = processor.apply_chat_template(
        turn, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
    )
    found = []
    for word in words:
        ids = torch.tensor([processor.tokenizer(word, add_special_tokens=False).input_ids])
        rows = torch.cat([given["input_ids"], ids], dim=1)
        with torch.inference_mode():
            logits = model(
                input_ids=rows, attention_mask=torch.ones_like(rows), pixel_values=given["pixel_values"]
            ).logits[0]
        logs = logits[-ids.shape[1] - 1 : -1].log_softmax(dim=-1).gather(1, ids[0][:, None])
        found.append(float(logs.sum().exp()))
    return found


def test_vqa_score_is_the_published_probability(tmp_path: Path) -> None:
    folder = save_llava(tmp_path / "seeing")
    model = Local(model=folder, device="cpu")
    yes, capital, no, other = by_hand(folder, ["yes", "Yes", "no", "No"])
    values = []
    for normalized in (False, True):
        scorer = VqaScore(
            model=model,
            target=Function(function=lambda prompt, example: image(0)),
            examples=[Example("1", WISH, WISH)],
            read="probabilities",
            normalized=normalized,
        )
        scorer.begin(FakeSetup())
        (rating,) = scorer.answer([Rate(Prompt("p"))])
        values.append(rating.value)
    assert values == pytest.approx([capital, (yes + capital) / (yes + capital + no + other)], rel=1e-3)
