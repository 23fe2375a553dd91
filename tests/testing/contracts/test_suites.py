"""What holds of all contract suites."""

from __future__ import annotations

from typing import Any

import pytest

from promptopt.testing import contracts

SUITES = [getattr(contracts, name) for name in contracts.__all__]


@pytest.mark.parametrize("suite", SUITES)
def test_a_suite_without_a_part_says_what_to_override(suite: Any) -> None:
    how = {"seed": 0} if suite is contracts.DatasetContract else {}
    with pytest.raises(AssertionError, match="override make"):
        suite().make(**how)


@pytest.mark.parametrize("suite", SUITES)
def test_a_suite_without_a_part_is_no_test(suite: Any) -> None:
    """pytest would collect a name that begins with Test, wherever it is imported."""
    assert not suite.__name__.startswith("Test")
    assert [name for name in dir(suite) if name.startswith("test_")]
