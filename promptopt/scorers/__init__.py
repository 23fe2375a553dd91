"""Scorers: what answers an optimizer's questions. One file per kind of feedback."""

from .adapters import BradleyTerry, WinRate
from .function import FunctionScorer
from .human import Human
from .metric import MetricScorer

__all__ = ["BradleyTerry", "FunctionScorer", "Human", "MetricScorer", "WinRate"]
