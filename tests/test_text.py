"""Inputs and labels as text."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from promptopt.text import as_text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("as is", "as is"),
        (7, "7"),
        (None, "null"),
        (["first", "second"], '["first", "second"]'),
        ({"question": "Würde?", "n": np.int64(3)}, '{"question": "Würde?", "n": 3}'),
        ([Path("a/b.png"), 0.5, None], '["a/b.png", 0.5, null]'),
        (Path("a/b.png"), "a/b.png"),
        ({"day": date(2024, 2, 1)}, '{"day": "2024-02-01"}'),
        (date(2024, 2, 1), "2024-02-01"),
        (np.float64(0.5), "0.5"),
        (np.zeros((2, 2)), "(ndarray)"),
        (object(), "(object)"),
        (Image.new("RGB", (2, 2)), "(Image)"),
        ({"picture": Image.new("RGB", (2, 2))}, '{"picture": "(Image)"}'),
    ],
)
def test_values_are_the_same_text_in_every_process(value: Any, text: str) -> None:
    assert as_text(value) == text
