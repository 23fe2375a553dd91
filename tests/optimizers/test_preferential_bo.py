"""Preferential Bayesian optimization: BoTorch's process and acquisition over the embeddings of a pool."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("botorch", reason="the extra bo is not installed")

import torch

from promptopt.core import HasBelief, Preference, Prompt
from promptopt.embedders.function import FunctionEmbedder
from promptopt.errors import UserError
from promptopt.optimizers.duels.pairwise_gp import PairwisePosterior
from promptopt.optimizers.pools.listed import ListPool
from promptopt.optimizers.preferential_bo import PreferentialBO, eubo, project
from promptopt.testing import FakeSetup
from promptopt.testing.contracts import OptimizerContract

pytestmark = pytest.mark.study

TEXTS = [f"{i} of {{}}" for i in range(30)]
RNG = np.random.default_rng(0)
X = RNG.random((30, 3))


def vectors(texts: Sequence[str]) -> Any:
    """Angles on a circle by number, which a utility can vary over smoothly."""
    angle = np.array([float(text.split()[0]) for text in texts]) / 10
    return np.stack([np.cos(angle), np.sin(angle)], axis=1)


def utility(prompt: Prompt) -> float:
    """Best at 17, in log-odds."""
    return -abs(float(prompt.text.split()[0]) - 17) / 2


def search(**options: Any) -> PreferentialBO:
    made = PreferentialBO(
        pool=ListPool(prompts=TEXTS), embedder=FunctionEmbedder(function=vectors), **{"dimensions": 2, **options}
    )
    made.begin(FakeSetup(start=TEXTS[:1]))
    return made


def play(optimizer: PreferentialBO, rounds: int, *, noise: bool = True) -> list[tuple[str, str]]:
    rng = np.random.default_rng(1)
    asked: list[tuple[str, str]] = []
    for _ in range(rounds):
        for asked_now in optimizer.ask():
            duel = replace(asked_now, number=optimizer._record.answered)
            asked.append((duel.a.text, duel.b.text))
            gap = utility(duel.a) - utility(duel.b)
            wins = rng.random() < 1 / (1 + np.exp(-gap)) if noise else gap > 0
            optimizer.tell([(duel, Preference("a" if wins else "b"))])
    return asked


class TestPreferentialBO(OptimizerContract):
    """The suite."""

    questions = 7

    def make(self) -> PreferentialBO:
        return PreferentialBO(pool=ListPool(prompts=TEXTS[:8]), n_init=3)


# ── The search ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_it_finds_the_best_of_the_pool_and_knows_it() -> None:
    optimizer = search()
    asked = play(optimizer, 12, noise=False)
    assert abs(float(optimizer.best().text.split()[0]) - 17) <= 1
    assert all(a != b for a, b in asked)
    assert isinstance(optimizer, HasBelief)
    early = search()
    play(early, 6)
    assert 0 <= early.belief().confidence < optimizer.belief().confidence <= 1
    assert optimizer.belief() == optimizer.belief()


def test_the_incumbent_was_played_and_has_the_highest_mean_of_those() -> None:
    optimizer = search()
    asked = play(optimizer, 8)
    played = {text for pair in asked for text in pair}
    assert optimizer.best().text in played
    mean = dict(zip([p.text for p in optimizer._arms.prompts], optimizer._utility().mean, strict=True))
    assert mean[optimizer.best().text] == max(mean[text] for text in played)


def test_ties_draw_together_and_unknown_teaches_nothing() -> None:
    found = {}
    for winner in ("a", "tie", "unknown"):
        optimizer = search(n_init=1)
        [duel] = optimizer.ask()
        optimizer.tell([(duel, Preference(winner))])  # type: ignore[arg-type]
        place = optimizer._arms.index
        posterior = optimizer._utility()
        found[winner] = (
            posterior.mean[place(duel.a)] - posterior.mean[place(duel.b)],
            posterior.uncertainty(place(duel.a))[place(duel.b)],
            float(np.ptp(posterior.mean)),
        )
    assert found["a"][0] > 1e-3
    assert found["tie"][0] == pytest.approx(0, abs=1e-6)
    assert found["tie"][1] < found["unknown"][1]
    assert found["unknown"][2] == 0


def test_a_batch_holds_different_duels() -> None:
    optimizer = search(batch=6)
    play(optimizer, 2)
    batch = optimizer.ask()
    assert len({frozenset((duel.a, duel.b)) for duel in batch}) == 6


def test_no_pair_is_asked_again_while_there_are_others() -> None:
    optimizer = PreferentialBO(pool=ListPool(prompts=TEXTS[:4]), n_init=0)
    optimizer.begin(FakeSetup(start=TEXTS[:1]))
    pairs = []
    for winner in ("unknown", "a", "tie", "b", "unknown", "a"):
        [duel] = optimizer.ask()
        pairs.append(frozenset((duel.a, duel.b)))
        optimizer.tell([(duel, Preference(winner))])  # type: ignore[arg-type]
    assert len(set(pairs)) == 6
    [duel] = optimizer.ask()
    assert duel.a != duel.b


def test_prompts_that_join_later_are_projected_with_the_others() -> None:
    optimizer = search()
    play(optimizer, 6)
    assert optimizer.add([Prompt("17.5 of {}"), Prompt(TEXTS[3])]) == 1
    play(optimizer, 1)
    assert len(optimizer._utility().mean) == 31
    assert optimizer._points().min() == 0
    assert optimizer._points().max() == 1


def test_equal_embeddings_do_no_harm() -> None:
    optimizer = PreferentialBO(pool=ListPool(prompts=["say it", "Say it", "SAY IT", "write"]), n_init=0)
    optimizer.begin(FakeSetup(start=["say it"]))
    for winner in ("a", "b", "tie", "a", "b", "a"):
        [duel] = optimizer.ask()
        optimizer.tell([(duel, Preference(winner))])  # type: ignore[arg-type]
    assert isinstance(optimizer.best(), Prompt)
    assert np.isfinite(optimizer._utility().mean).all()


def test_the_global_generator_of_torch_is_left_alone() -> None:
    before = torch.get_rng_state()
    play(search(), 8)
    assert torch.equal(torch.get_rng_state(), before)


def test_dimensions_that_cannot_be() -> None:
    with pytest.raises(UserError, match="dimensions is 0"):
        PreferentialBO(dimensions=0)


# ── The process ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_eubo_is_that_of_botorch() -> None:
    from botorch.acquisition.preference import AnalyticExpectedUtilityOfBestOption

    posterior = PairwisePosterior(X, [(0, 1), (1, 2), (3, 0), (4, 9), (9, 4)])
    ours = eubo(*posterior.joint(np.arange(30)))
    acquisition = AnalyticExpectedUtilityOfBestOption(pref_model=posterior._model)
    a, b = np.triu_indices(30, 1)
    with torch.no_grad():
        theirs = acquisition(torch.stack([torch.from_numpy(X[a]), torch.from_numpy(X[b])], dim=1)).numpy()
    assert ours[a, b] == pytest.approx(theirs, abs=1e-9)
    assert ours == pytest.approx(ours.T)


def test_eubo_is_the_mean_of_the_better_one() -> None:
    mean, cov = np.array([0.3, -0.2]), np.array([[1.0, 0.4], [0.4, 0.5]])
    draws = np.random.default_rng(0).multivariate_normal(mean, cov, 400_000)
    assert eubo(mean, cov)[0, 1] == pytest.approx(draws.max(axis=1).mean(), abs=0.005)


def test_the_process_orders_points_as_the_duels_do() -> None:
    hidden = 3 * X[:, 0]
    pairs = [
        (a, b) if hidden[a] > hidden[b] else (b, a) for a, b in np.random.default_rng(2).integers(30, size=(80, 2))
    ]
    posterior = PairwisePosterior(X, [(int(a), int(b)) for a, b in pairs if a != b])
    assert np.corrcoef(posterior.mean, hidden)[0, 1] > 0.9


def test_moments_agree_however_they_are_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("promptopt.optimizers.duels.pairwise_gp.AT_ONCE", 7)
    posterior = PairwisePosterior(X, [(0, 1), (2, 3), (4, 0)])
    mean, cov = posterior.joint(np.arange(30))
    assert posterior.mean == pytest.approx(mean)
    assert posterior.variance == pytest.approx(np.diagonal(cov))
    spread = np.sqrt(np.diagonal(cov) + cov[5, 5] - 2 * cov[5])
    assert posterior.uncertainty(5) ** 2 == pytest.approx(spread**2, abs=1e-6)


def test_projections_lie_in_the_unit_cube_and_keep_proportions() -> None:
    points = np.random.default_rng(3).standard_normal((20, 3)) @ np.random.default_rng(4).standard_normal((3, 50))
    cube = project(points, 16)
    assert cube.shape == (20, 3)  # there is nothing in the other directions
    assert cube.min() == 0
    assert cube.max() == 1
    for i, j, k in ((0, 1, 2), (3, 4, 5)):
        ratio = np.linalg.norm(points[i] - points[j]) / np.linalg.norm(points[i] - points[k])
        assert np.linalg.norm(cube[i] - cube[j]) / np.linalg.norm(cube[i] - cube[k]) == pytest.approx(ratio)
    assert project(points, 2).shape == (20, 2)
    assert project(np.ones((2, 5)), 3) == pytest.approx(np.zeros((2, 1)))
