"""The report is what the counts say."""

from __future__ import annotations

from promptopt.scorers.judge import FIRST, LONGER, PAIRS, PAIRS_AGREED, REPEATS, REPEATS_AGREED, SECOND, SHORTER
from promptopt.scorers.judge import JudgeReport as Report


def test_shares() -> None:
    counts = {PAIRS: 20, PAIRS_AGREED: 15, FIRST: 3, SECOND: 1, LONGER: 6, SHORTER: 2, REPEATS: 10, REPEATS_AGREED: 9}
    report = Report.of({**counts, "unreadable verdicts": 2, "refused verdicts": 1, "something else": 7})
    assert report == Report(20, 0.75, 0.75, 0.75, 0.9, 3)
