"""Chat models: LLMs that propose, judge or are prompted. Each module loads its SDK on first use, not on import."""

__all__: list[str] = []
