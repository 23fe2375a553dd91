"""The network: gradients against finite differences, training against torch, norms without the big arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from promptopt.optimizers.duels.network import backward, draw, forward, gradients, train

WIDTHS = (5, 4, 3, 1)


@pytest.fixture
def weights() -> Any:
    return draw(np.random.default_rng(1), WIDTHS)


@pytest.fixture
def x() -> Any:
    return np.random.default_rng(2).standard_normal((6, WIDTHS[0]))


def flat(slopes: Any) -> Any:
    """``(n, P)``: the gradients, written out."""
    layers = [
        np.concatenate([back[:, :, None] * into[:, None, :], back[:, :, None]], axis=2).reshape(len(into), -1)
        for into, back in zip(slopes.into, slopes.back, strict=True)
    ]
    return np.concatenate(layers, axis=1)


def test_the_size_is_the_papers() -> None:
    assert sum(layer.size for layer in draw(np.random.default_rng(0), (768, 32, 32, 1))) == 25_697


def test_gradients_are_those_of_finite_differences(weights: Any, x: Any) -> None:
    _, slopes = gradients(weights, x)
    step, numeric = 1e-6, []
    for layer in weights:
        for place in np.ndindex(layer.shape):
            kept = layer[place]
            layer[place] = kept + step
            above = forward(weights, x)[-1][:, 0]
            layer[place] = kept - step
            numeric.append((above - forward(weights, x)[-1][:, 0]) / (2 * step))
            layer[place] = kept
    np.testing.assert_allclose(flat(slopes), np.stack(numeric, axis=1), rtol=1e-5, atol=1e-7)


def test_backward_is_linear_in_what_comes_from_above(weights: Any, x: Any) -> None:
    top = np.arange(1.0, 7.0)[:, None]
    out = forward(weights, x)
    for scaled, plain in zip(backward(weights, out, top), gradients(weights, x)[1].back, strict=True):
        np.testing.assert_allclose(scaled, top * plain)


def test_factored_products_are_those_of_gradients_written_out(weights: Any, x: Any) -> None:
    _, g = gradients(weights, x)
    full = flat(g)
    np.testing.assert_allclose(g.inner(g[[0, 3]]), full @ full[[0, 3]].T)
    np.testing.assert_allclose(g.squares(), np.sum(full**2, axis=1))
    sums = np.concatenate([one.ravel() for one in g[:3].sum_of_products(g[3:])])
    np.testing.assert_allclose(sums, np.sum(full[:3] * full[3:], axis=0))
    scale = [np.abs(layer) for layer in weights]
    wide = np.concatenate([one.ravel() for one in scale])
    np.testing.assert_allclose(g.weighted(g[[2]], scale), (full * full[2] * wide).sum(axis=1))


def duels(n: int) -> Any:
    rng = np.random.default_rng(3)
    a = rng.integers(n, size=9)
    b = (a + 1 + rng.integers(n - 1, size=9)) % n
    return a, b, rng.integers(3, size=9) / 2


def test_training_is_adam_as_torch_has_it(x: Any) -> None:
    torch = pytest.importorskip("torch")
    start, (a, b, wins) = draw(np.random.default_rng(1), (5, 32, 32, 1)), duels(len(x))
    linear = torch.nn.Linear
    network = torch.nn.Sequential(linear(5, 32), torch.nn.ReLU(), linear(32, 32), torch.nn.ReLU(), linear(32, 1))
    for layer, drawn in zip(network[::2], start, strict=True):
        layer.weight.data = torch.tensor(drawn[:, :-1], dtype=torch.float32)
        layer.bias.data = torch.tensor(drawn[:, -1], dtype=torch.float32)
    adam = torch.optim.Adam(network.parameters(), lr=1e-3, weight_decay=0.01)
    for _ in range(60):
        adam.zero_grad()
        h = network(torch.tensor(x, dtype=torch.float32))[:, 0]
        loss = torch.nn.functional.binary_cross_entropy_with_logits(h[a] - h[b], torch.tensor(wins).float())
        loss.backward()
        adam.step()
    trained = train(start, x, a, b, wins, decay=0.01, steps=60)
    for layer, ours, drawn in zip(network[::2], trained, start, strict=True):
        np.testing.assert_allclose(ours[:, :-1], layer.weight.detach(), atol=2e-5)
        assert np.abs(ours - drawn).max() > 0.01


def test_training_leaves_its_start_alone(x: Any) -> None:
    start = draw(np.random.default_rng(1), WIDTHS)
    before = [layer.copy() for layer in start]
    train(start, x, *duels(len(x)), decay=0.1, steps=3)
    for layer, kept in zip(start, before, strict=True):
        np.testing.assert_array_equal(layer, kept)
