"""For tests of parts, ours and other people's: scripted fakes and contract suites."""

from .scripted import ScriptedModel
from .setup import FakeSetup

__all__ = ["FakeSetup", "ScriptedModel"]
