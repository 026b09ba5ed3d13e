"""What a bench found: a row for each way to do the work, and ratios between them. No torch."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
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
    """What a number is meant to be: at most or at least so much."""

    sense: Literal["at most", "at least"]
    value: float

    def is_met(self, found: float) -> bool:
        """Say whether a number reaches the goal."""
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
        Such as ``wmss, co-trained``.
    seconds : Spread or None
        Of a run, over the rounds.
    unit, per_second : str, Spread or None
        How many tokens (rows, records) a second.
    limit : Spread or None
        Needed FLOPs / (seconds * the matrix-product rate of the same round).
    memory_bytes : int or None
        The peak, in a process of its own.
    """

    name: str
    seconds: Spread | None = None
    unit: str = ""
    per_second: Spread | None = None
    limit: Spread | None = None
    memory_bytes: int | None = None


class Ratio(_Model):
    """A number that a goal is set for: one way against another, or against the limit.

    Attributes
    ----------
    quantity : {"time", "memory", "speed", "limit", "calls"}
        Of what.
    name : str
        Such as ``wmss / authors``.
    value : Spread
        Over the rounds; each round gives one ratio.
    unit : str
        Empty for a true ratio.
    goal : Goal or None
        None where none is set: other sizes than the table's, or a GPU.
    """

    quantity: Quantity
    name: str
    value: Spread
    unit: str = ""
    goal: Goal | None = None


class Rate(_Model):
    """The machine's matrix-product rate, in GFLOP/s, between the runs.

    Attributes
    ----------
    shape : str
        Of the product.
    """

    shape: str
    gflops: Spread


class Agreement(_Model):
    """Values that all ways must give: the largest difference found, and what is allowed.

    Attributes
    ----------
    relative : bool
        Whether the difference is a share of the value.
    """

    what: str
    difference: float
    allowed: float
    relative: bool


class Part(_Model):
    """One table of a bench.

    Attributes
    ----------
    bench, title : str
        Such as ``loss``, and what is measured on what sizes.
    memory : str
        What the column of memory counts.
    left_out : tuple of str
        What was not measured, and why.
    sizes : dict of str to int
        Of the models and the data.
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

    def entry(self, name: str) -> Entry:
        """Return the row of a way by its name."""
        return next(entry for entry in self.entries if entry.name == name)

    def ratio(self, quantity: Quantity, name: str) -> Ratio:
        """Return a ratio by its name."""
        return next(r for r in self.ratios if (r.quantity, r.name) == (quantity, name))


class Machine(_Model):
    """Where it was measured."""

    device: str
    threads: int
    dtype: str
    versions: dict[str, str]


class Report(_Model):
    """All that one run of ``wmss bench`` found."""

    size: str
    rounds: int
    machine: Machine
    parts: tuple[Part, ...]
