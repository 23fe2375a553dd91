"""Metrics: one number per output of a target, higher is better. A module each; none is loaded before it is named."""

__all__ = ["answers", "classification", "code", "function", "sandbox", "schema", "similarity", "text"]
