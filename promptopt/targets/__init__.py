"""Targets: what is being prompted. A module each; none is loaded before it is named."""

__all__ = ["chat", "clip", "function", "http"]
