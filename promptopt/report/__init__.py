"""Reports: a run or a sweep as one HTML page and as tables, and runs compared with each other."""

from .compare import compare
from .write import report

__all__ = ["compare", "report"]
