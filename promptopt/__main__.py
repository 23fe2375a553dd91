"""``python -m promptopt``."""

from .cli import main

main()
