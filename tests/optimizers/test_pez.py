"""Projected gradients: exact against finite differences, and as the released code steps."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("open_clip")

import torch

from promptopt.core import Example, Rating
from promptopt.errors import UserError
from promptopt.optimizers.pez import AdamW, Pez, projected
from promptopt.targets.clip.models import ClipModel, load
from promptopt.targets.clip.references import References, SoftTexts
from promptopt.targets.clip.text import TextEncoder
from promptopt.targets.painter import paint
from promptopt.testing import FakeSetup
from promptopt.testing.contracts import OptimizerContract

PICTURE = paint("seven blue triangles on an orange background", 3)
EXAMPLES = [Example("e/0", "", (PICTURE,))]


def embedded() -> ClipModel:
    loaded = load("embedded", None)
    assert loaded is not None
    return loaded


def soft(loaded: ClipModel) -> SoftTexts:
    return SoftTexts(loaded, References(loaded, [PICTURE], cache=None))


def make(**options: Any) -> Pez:
    return Pez(**{"examples": EXAMPLES, "steps": 4, "length": 3, "restarts": 2, "cache": False, **options})


class TestPez(OptimizerContract):
    start = ("a picture",)

    def make(self) -> Pez:
        return make()


def test_the_gradient_is_that_of_finite_differences() -> None:
    loaded = embedded()
    references = References(loaded, [PICTURE], cache=None)
    references.mean = references.mean.double()
    texts = SoftTexts(replace(loaded, model=copy.deepcopy(loaded.model).double()), references)
    rng = np.random.default_rng(0)
    rows = rng.normal(0, 0.05, (2, 4, texts.table.shape[1]))
    near, gradient = texts.gradient(rows)
    for _ in range(6):
        direction = rng.normal(size=rows.shape)
        ahead, behind = (texts.gradient(rows + sign * 1e-5 * direction)[0] for sign in (1, -1))
        assert (ahead - behind) / 2e-5 == pytest.approx((gradient * direction).sum(axis=(1, 2)), rel=1e-6, abs=1e-9)
    assert near.shape == (2,)


def test_rows_of_words_are_as_near_as_the_text_that_they_spell() -> None:
    loaded = embedded()
    texts, words = soft(loaded), soft(loaded).words
    picked = np.random.default_rng(1).choice(len(words), (20, 6))
    near, _ = texts.gradient(texts.table[picked])
    spelled = [" ".join([*words.values()][one] for one in row) for row in picked]
    assert near == pytest.approx(References(loaded, [PICTURE], cache=None).similarity(spelled), abs=1e-5)
    assert TextEncoder(loaded.model, loaded.tokenizer).lengths(spelled) == [8] * 20
    assert {"seven", "photo", "7"} <= {*words.values()}


def test_steps_are_those_of_torch() -> None:
    rng = np.random.default_rng(2)
    rows, gradients = rng.normal(size=(2, 3)), rng.normal(size=(5, 2, 3))
    parameter = torch.nn.Parameter(torch.tensor(rows))
    theirs, ours = torch.optim.AdamW([parameter], lr=0.1, weight_decay=0.1), AdamW(rate=0.1, weight_decay=0.1)
    for gradient in gradients:
        parameter.grad = torch.tensor(gradient)
        theirs.step()
        rows = ours.step(rows, gradient)
    assert rows == pytest.approx(parameter.detach().numpy(), abs=1e-12)


def test_the_nearest_token_is_that_of_the_greatest_cosine() -> None:
    directions = np.array([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]])
    assert projected(np.array([[[9.0, 1.0], [0.1, 0.1], [-1.0, 5.0]]]), directions).tolist() == [[0, 2, 1]]


def test_it_comes_nearer_than_random_words_and_the_best_rated_is_the_answer() -> None:
    optimizer = make(steps=40, restarts=3)
    setup = FakeSetup(start=["a picture"])
    optimizer.begin(setup)
    questions = optimizer.ask()
    assert questions[0].prompt.text == "a picture"
    near = [question.prompt.origin["similarity"] for question in questions[1:]]
    assert near == sorted(near, reverse=True)
    assert len(near) == 8
    loaded = embedded()
    table = [*soft(loaded).words.values()]
    random = [" ".join(np.random.default_rng(k).choice(table, 3)) for k in range(120)]
    assert near[0] > References(loaded, [PICTURE], cache=None).similarity(random).max() + 0.03
    optimizer.tell([(question, Rating(float(place == 4))) for place, question in enumerate(questions)])
    assert optimizer.best() == questions[4].prompt
    assert setup.counts["gradient steps"] == 40


def test_what_the_target_cannot_take_is_not_rated() -> None:
    optimizer = make(rated=3)
    optimizer.begin(FakeSetup(start=["a picture"], problem_with=lambda text: "no" if "a" in text[2:] else None))
    assert all("a" not in question.prompt.text[2:] for question in optimizer.ask()[1:])


@pytest.mark.parametrize(
    ("change", "said"), [({"length": 23}, "1 to 22"), ({"rate": 0}, "rate"), ({"steps": 0}, "steps")]
)
def test_mistakes_are_named(change: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        make(**change)


def test_another_tower_is_refused() -> None:
    references = References(embedded(), ["seven"], cache=None)
    with pytest.raises(UserError, match="causal text tower"):
        SoftTexts(replace(embedded(), tokenizer=object()), references)
