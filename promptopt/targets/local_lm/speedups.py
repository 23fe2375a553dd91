"""What a local LM does to save work. For benchmarks and tests, which turn things off to see what they save."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Speedups:
    """All on, unless told otherwise. None changes a token, but for the rounding of padded attention.

    Attributes:
        reuse_prefix: read what documents begin with alike once.
        use_drafts: check earlier reasoning, and true answers, instead of writing them anew.
        keep_reasoning: take the gradient with the reasoning that was written when the prompt was rated.
        one_pass: take proposals and gradient from one forward pass.
    """

    reuse_prefix: bool = True
    use_drafts: bool = True
    keep_reasoning: bool = True
    one_pass: bool = True
