"""Embedders: texts into vectors of length 1, for optimizers that learn over prompts [Lin2024]."""

__all__ = ["clip_text", "function", "ngrams", "rows", "sentence", "stored", "weights"]
