"""The results of a bench: a row for each way to do the work, ratios between them, and a plot.

No torch is imported here.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

RESULTS_FILE = "results.json"

Quantity = Literal["time", "memory", "speed", "limit", "calls"]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Spread(_Model):
    """Median, lowest and highest of some measurements."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Summarise at least one value."""
        return cls(median=statistics.median(values), low=min(values), high=max(values))


class Goal(_Model):
    """A bound for a number: at most or at least this value."""

    sense: Literal["at most", "at least"]
    value: float

    def is_met(self, found: float) -> bool:
        """Return whether a number reaches the goal."""
        return found <= self.value if self.sense == "at most" else found >= self.value


def at_most(value: float) -> Goal:
    """Return the goal of a number that should be small."""
    return Goal(sense="at most", value=value)


def at_least(value: float) -> Goal:
    """Return the goal of a number that should be large."""
    return Goal(sense="at least", value=value)


class Entry(_Model):
    """One way to do the work.

    Attributes
    ----------
    name : str
        A name such as ``wmss, co-trained``.
    seconds : Spread or None
        Duration of a run, over the rounds.
    unit, per_second : str, Spread or None
        Number of tokens (rows, records) per second.
    limit : Spread or None
        Needed FLOPs / (seconds * the matrix-product rate of the same round).
    memory_bytes : int or None
        The peak, measured in a process of its own.
    """

    name: str
    seconds: Spread | None = None
    unit: str = ""
    per_second: Spread | None = None
    limit: Spread | None = None
    memory_bytes: int | None = None


class Ratio(_Model):
    """A number with a goal: one way relative to another, or to the limit.

    Attributes
    ----------
    quantity : {"time", "memory", "speed", "limit", "calls"}
        The measured quantity.
    name : str
        A name such as ``wmss / authors``.
    value : Spread
        Over the rounds, each of which gives one ratio.
    unit : str
        Empty if it is a ratio in the strict sense.
    goal : Goal or None
        None if none is set: for other sizes than the table's, or a GPU.
    """

    quantity: Quantity
    name: str
    value: Spread
    unit: str = ""
    goal: Goal | None = None


class Rate(_Model):
    """The machine's matrix-product rate, in GFLOP/s, measured between the runs.

    Attributes
    ----------
    shape : str
        The shape of the product.
    """

    shape: str
    gflops: Spread


class Agreement(_Model):
    """Values that all ways must agree on: the largest difference found, and what is allowed.

    Attributes
    ----------
    relative : bool
        Whether the difference is a share of the value.
    """

    what: str
    difference: float
    allowed: float
    relative: bool


class BenchTable(_Model):
    """One table of a bench.

    Attributes
    ----------
    bench, title : str
        Name such as ``loss``, and what is measured with which sizes.
    memory : str
        What the memory column counts.
    left_out : tuple of str
        What was not measured, and why.
    sizes : dict of str to int
        Sizes of the models and the data.
    """

    bench: str
    title: str
    memory: str = ""
    entries: tuple[Entry, ...]
    ratios: tuple[Ratio, ...] = ()
    rate: Rate | None = None
    agreements: tuple[Agreement, ...] = ()
    left_out: tuple[str, ...] = ()
    sizes: dict[str, int] = {}


class Machine(_Model):
    """The machine that it was measured on."""

    device: str
    threads: int
    dtype: str
    versions: dict[str, str]


class BenchResults(_Model):
    """The results of one run of ``wmss bench``."""

    size: str
    rounds: int
    machine: Machine
    parts: tuple[BenchTable, ...]


def plot_results(results: BenchResults, path: Path) -> None:
    """Draw a panel for each table, with a bar for each way, and save the plot.

    Parameters
    ----------
    results : BenchResults
        Results of at least one bench.
    path : Path
        Where to save it; the file extension determines the format.
    """
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot as plt

    benches = results.parts
    rows = [max(2, len(bench.entries)) for bench in benches]
    figure, axes = plt.subplots(
        len(benches),
        1,
        figsize=(9, sum(0.55 * n + 0.9 for n in rows)),
        height_ratios=rows,
        layout="constrained",
        squeeze=False,
    )
    for axis, bench in zip(axes[:, 0], benches, strict=True):
        timed = [(e.name, e.seconds) for e in bench.entries if e.seconds is not None]
        names = [name for name, _ in timed]
        medians = [s.median for _, s in timed]
        errors = [[s.median - s.low for _, s in timed], [s.high - s.median for _, s in timed]]
        colors = ["C0" if name.startswith("wmss") else "C7" for name in names]
        axis.barh(names, medians, xerr=errors, color=colors, height=0.6, capsize=3)
        axis.invert_yaxis()
        axis.set_title(bench.title, fontsize=9, loc="left")
        axis.set_xlabel("seconds: median, lowest and highest", fontsize=8)
    figure.savefig(path, dpi=150)
    plt.close(figure)
