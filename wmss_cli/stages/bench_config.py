"""What ``wmss bench`` asks for; no torch is imported here."""

from __future__ import annotations

from typing import Literal

from wmss_cli.core.section import Count, Section

BenchName = Literal["loss", "step", "score", "generate", "cli"]
BENCHES: tuple[BenchName, ...] = ("loss", "step", "score", "generate", "cli")


class BenchConfig(Section):
    """Which benches run, and how large."""

    parts: list[BenchName]
    """The benches, in this order."""
    size: Literal["table", "small"]
    """`table`: the sizes of ``docs/performance.md``, for which there are goals."""
    rounds: Count
    """How often each way runs, after a warm-up."""
    model: str | None = None
    """Folder of the model that generates; None for random weights in SmolLM2-135M's shape."""
    tokens: str | None = None
    """Token table whose prompts it continues; None if and only if `model` is."""
    started: str
    """When it was asked for: each bench is an artifact of its own, even with equal options."""
