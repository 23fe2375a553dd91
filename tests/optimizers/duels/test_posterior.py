"""The linear algebra of dueling bandits against the matrices that it never makes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.optimize import minimize

from promptopt.core import Prompt
from promptopt.optimizers.apohf import Network, Tangent
from promptopt.optimizers.duels import Duels
from promptopt.optimizers.duels.arms import Arms
from promptopt.optimizers.duels.network import draw, gradients
from promptopt.optimizers.duels.posterior import Embedded, GaussianProcess, Posterior, information, kernels, laplace

from ..duel_problems import Table, rows


def duels(n: int, t: int, *, seed: int = 0) -> Duels:
    rng = np.random.default_rng(seed)
    a = rng.integers(n, size=t)
    return Duels(a, (a + 1 + rng.integers(n - 1, size=t)) % n, rng.integers(3, size=t) / 2)


def arms_of(table: Any) -> Arms:
    arms = Arms(Table(table))
    arms.add([Prompt(str(i)) for i in range(len(table))])
    return arms


def written_out(g: Any) -> Any:
    return np.concatenate(
        [np.hstack([(d[:, :, None] * u[:, None]).reshape(len(u), -1), d]) for u, d in zip(g.into, g.back, strict=True)],
        axis=1,
    )


@pytest.mark.parametrize("norm", ["full", "diagonal"])
def test_the_norm_of_the_paper_without_its_matrix(norm: Any) -> None:
    """Against V and its inverse as (P, P) arrays."""
    table, asked, lam = rows(8, 6), duels(8, 20), 0.1
    h, g = gradients(draw(np.random.default_rng(0), (6, 5, 4, 1)), table)
    full = written_out(g)
    differences = full[asked.a] - full[asked.b]
    v = lam * np.eye(full.shape[1]) + differences.T @ differences
    inverse = np.linalg.inv(np.diag(np.diag(v)) if norm == "diagonal" else v)
    gaps = full - full[3]
    expected = np.sqrt(np.einsum("np,pq,nq->n", gaps, inverse, gaps))
    spread = Network(h, g, asked, lam=lam, norm=norm).exploration_bonus(3, asked)
    np.testing.assert_allclose(spread, expected, rtol=1e-4, atol=1e-4)


def test_covariances_are_those_of_the_weights() -> None:
    """Against the posterior covariance of the P weights themselves, with duels that count differently."""
    table, asked, lam = rows(7, 5), duels(7, 12), 0.3
    _, g = gradients(draw(np.random.default_rng(0), (5, 4, 3, 1)), table)
    full = written_out(g)
    differences, weights = full[asked.a] - full[asked.b], np.linspace(0.0, 1.0, 12)
    covariance = full @ np.linalg.inv(lam * np.eye(full.shape[1]) + (differences.T * weights) @ differences) @ full.T
    posterior = Posterior(Tangent(g, lam), asked, weights)
    places = np.array([6, 0, 3])
    np.testing.assert_allclose(posterior.covariance(places), covariance[np.ix_(places, places)], rtol=1e-4, atol=1e-4)
    gaps = covariance.diagonal() + covariance[2, 2] - 2 * covariance[2]
    np.testing.assert_allclose(posterior.variance(2), gaps, rtol=1e-4, atol=1e-4)


def test_laplace_finds_the_mode_and_its_curvature() -> None:
    rng = np.random.default_rng(0)
    x, wins = 3 * rng.standard_normal((30, 4)), rng.integers(3, size=30) / 2

    def loss(v: Any) -> float:
        return float(np.sum(np.logaddexp(0, x @ v) - wins * (x @ v)) + v @ v / 2)

    found = laplace(x, wins)
    np.testing.assert_allclose(found.v, minimize(loss, np.zeros(4), tol=1e-10).x, atol=1e-4)
    chance = 1 / (1 + np.exp(-(x @ found.v)))
    hessian = np.eye(4) + x.T @ ((chance * (1 - chance))[:, None] * x)
    assert found.evidence == pytest.approx(-loss(found.v) - np.linalg.slogdet(hessian)[1] / 2)


def test_evidence_is_the_integral_where_that_is_easy() -> None:
    """One weight: the marginal likelihood by quadrature, which Laplace's approximation comes close to."""
    x, wins = np.full((40, 1), 0.5), np.repeat([1.0, 0.0], [28, 12])
    v = np.linspace(-8, 8, 20_001)
    z = 0.5 * v[:, None]
    likelihood = np.exp(28 * -np.logaddexp(0, -z) + 12 * -np.logaddexp(0, z))[:, 0]
    exact = np.log(np.trapezoid(likelihood * np.exp(-(v**2) / 2) / np.sqrt(2 * np.pi), v))
    assert laplace(x, wins).evidence == pytest.approx(exact, abs=0.02)


def test_a_far_start_does_not_throw_newton_off() -> None:
    x = np.array([[300.0], [-200.0], [250.0]])
    found = laplace(x, np.array([1.0, 0.0, 0.0]))
    slope = x.T @ (1 / (1 + np.exp(-x @ found.v)) - np.array([1.0, 0.0, 0.0])) + found.v
    assert np.abs(slope) < 1e-2


def test_what_a_duel_counts_bounds_its_log_likelihood() -> None:
    """The parabola with that curvature touches at ±gap and lies below everywhere else."""
    z, gap = np.linspace(-20, 20, 401), np.array([1e-9, 0.5, 4.0, 15.0])[:, None]
    bound = -np.logaddexp(0, -gap) + (z - gap) / 2 - information(gap) / 2 * (z**2 - gap**2)
    assert (bound <= -np.logaddexp(0, -z) + 1e-9).all()
    np.testing.assert_allclose(information(np.array([0.0, 1e-3])), 0.25, atol=1e-6)


@pytest.mark.parametrize("length", [None, 0.7])
def test_a_gaussian_process_is_its_textbook_form(length: float | None) -> None:
    """Mean and covariance against ``K (K + W⁻¹)⁻¹`` over all prompts at once, no features in between."""
    arms, asked = arms_of(rows(9, 12)), duels(9, 15)
    kernel = Embedded(arms, 4.0, length)
    process = GaussianProcess(asked, [kernel])
    everything = np.arange(9)
    k = kernel.block(everything)
    np.testing.assert_allclose(kernel.columns(everything), k)
    np.testing.assert_allclose(kernel.diagonal, np.diagonal(k), atol=1e-12)
    d = np.eye(9)[asked.a] - np.eye(9)[asked.b]
    (_, mean, covariance), *rest = process.parts(everything)
    assert not rest
    chance = 1 / (1 + np.exp(-(d @ mean)))
    np.testing.assert_allclose(mean, k @ d.T @ (asked.wins - chance), atol=1e-3)  # the slope is 0 at the mode
    gap = d @ mean
    w = np.diag(2 * gap / np.tanh(gap / 2))
    np.testing.assert_allclose(covariance, k - k @ d.T @ np.linalg.solve(d @ k @ d.T + w, d @ k), atol=1e-4)


def test_the_mixture_finds_how_sharp_answers_are() -> None:
    """The same pairs, answered at random or by a steep utility: the learnt spread of utilities follows."""
    table = rows(30, 4)
    arms, rng = arms_of(table), np.random.default_rng(1)
    asked = duels(30, 150, seed=2)
    steep = (table[asked.a, 0] > table[asked.b, 0]).astype(float)
    coin = rng.integers(2, size=150).astype(float)
    spread = [np.ptp(GaussianProcess(Duels(asked.a, asked.b, wins), kernels(arms)).mean) for wins in (steep, coin)]
    assert spread[0] > 10 > 3 > spread[1]


def test_equal_embeddings_are_no_trouble() -> None:
    table = np.repeat(rows(4, 3), 3, axis=0)
    arms, asked = arms_of(table), duels(12, 30)
    process = GaussianProcess(asked, kernels(arms))
    np.testing.assert_allclose(process.mean[0:12:3], process.mean[1:12:3], atol=1e-3)
    assert np.isfinite(process.exploration_bonus(0, asked)).all()


@pytest.mark.parametrize("noise", [0.0, 1e-17, 1e-9])
def test_a_pool_whose_embeddings_are_all_the_same_is_no_trouble(noise: float) -> None:
    """As where every prompt brings about the same outputs; rounding is no distance."""
    table = np.repeat(rows(1, 30), 7, axis=0) + noise * np.random.default_rng(0).standard_normal((7, 30))
    arms, asked = arms_of(table), duels(7, 20)
    process = GaussianProcess(asked, kernels(arms))
    assert np.isfinite(process.mean).all()
    assert np.isfinite(process.exploration_bonus(0, asked)).all()
    assert np.ptp(process.mean) < 1e-2


def test_kept_inner_products_follow_a_growing_pool() -> None:
    arms = Arms(Table(rows(6, 3)))
    arms.add([Prompt("0"), Prompt("1")])
    arms.inner(np.array([1]))
    assert arms.add([Prompt("1"), Prompt("5")]) == 1
    np.testing.assert_allclose(arms.inner(np.array([1, 2])), arms.vectors @ arms.vectors[[1, 2]].T)
