"""scikit-learn's digits as a few-shot task."""

from __future__ import annotations

import numpy as np
import pytest

from promptopt.data.digits import CLASSES, digits
from promptopt.errors import UserError

sklearn_datasets = pytest.importorskip("sklearn.datasets")


def index(example):
    return int(example.id.rpartition("/")[2])


def test_all_images_are_there_once_with_their_labels():
    source = sklearn_datasets.load_digits()
    data = digits(shots=4, dev=2)
    examples = [*data.train, *data.dev, *data.test]
    assert (len(data.train), len(data.dev), len(examples)) == (40, 20, 1797)
    assert sorted(index(e) for e in examples) == list(range(1797))
    assert all(e.label == CLASSES[source.target[index(e)]] for e in examples)
    assert data.classes == CLASSES


def test_pixels_are_the_source_scaled():
    source = sklearn_datasets.load_digits()
    example = digits(shots=1).train[0]
    assert example.input.mode == "RGB"
    assert example.input.size == (8, 8)
    pixels = np.asarray(example.input)
    assert np.abs(pixels / 255 * 16 - source.images[index(example)][..., None]).max() < 0.04
    assert pixels.max() > 200


def test_rotated_turns_by_180_degrees():
    upright, rotated = digits(shots=2), digits(shots=2, rotated=True)
    for one, other in zip(upright.train, rotated.train, strict=True):
        assert index(one) == index(other)
        assert one.id != other.id  # another image
        assert (np.asarray(one.input)[::-1, ::-1] == np.asarray(other.input)).all()
        assert one.label == other.label


def test_an_id_names_the_same_image_under_every_seed():
    images = [{e.id: e.input.tobytes() for e in (*d.train, *d.test)} for d in (digits(seed=0), digits(seed=1))]
    assert images[0] == images[1]
    assert {e.id for e in digits(seed=0).train} != {e.id for e in digits(seed=1).train}


def test_too_many_shots():
    assert digits(shots=173).test
    with pytest.raises(UserError, match="class 'eight' has 174 images, but needs 175"):
        digits(shots=174)
