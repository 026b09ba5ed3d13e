"""Rivals take turns: A B C A B C …, with the machine's matrix-product rate measured in between."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from wmss_cli.bench.results import Agreement, Entry, Rate, Spread
from wmss_cli.core.errors import IntegrityError
from wmss_cli.models.causal import device
from wmss_cli.models.machine import product_sizes

# Approximate duration of one measurement of a matrix product.
_PRODUCT_S = 0.3

Values = dict[str, NDArray[np.float64]]
"""Numbers from a run by name, which are compared between rivals."""


def _nothing() -> None:
    pass


def _no_values(_: Any) -> Values:
    return {}


@dataclass(frozen=True)
class Rival:
    """One way to do the work.

    Attributes
    ----------
    run : callable
        Does the work once; only this is timed.
    before : callable
        Undoes the effects of a run.
    read : callable
        Turns the result of `run` into the values that all rivals must agree on.
    delivered : callable
        Number of new bytes that a run leaves to its caller (gradients).
    warm_up : callable or None
        Shorter work that comes first; None for the work itself.
    """

    run: Callable[[], Any]
    before: Callable[[], None] = _nothing
    read: Callable[[Any], Values] = _no_values
    delivered: Callable[[], int] = lambda: 0
    warm_up: Callable[[], Any] | None = None


class MatrixProduct:
    """``torch.mm`` into existing memory: the best that the machine can do.

    Parameters
    ----------
    dtype : torch.dtype
        Type of the models in the bench.
    """

    def __init__(self, dtype: torch.dtype) -> None:
        m, k, n = product_sizes(device())
        self.shape = f"[{m:,} x {k:,}] @ [{k:,} x {n:,}], {str(dtype).removeprefix('torch.')}"
        self._a = torch.randn(m, k, device=device()).to(dtype)
        self._b = torch.randn(k, n, device=device()).to(dtype)
        self._out = torch.empty(m, n, dtype=dtype, device=device())
        self._flops = 2 * m * k * n
        self._repeats = 1
        self.measure()
        self._repeats = max(1, round(_PRODUCT_S * self.measure() / self._flops))

    def measure(self) -> float:
        """Return the current rate, in FLOP/s."""
        synchronize()
        begin = time.perf_counter()
        for _ in range(self._repeats):
            torch.mm(self._a, self._b, out=self._out)
        synchronize()
        return self._repeats * self._flops / (time.perf_counter() - begin)


@dataclass
class Timed:
    """The measurements of :func:`alternate`, one value for each round.

    Attributes
    ----------
    seconds : dict of str to list of float
        Durations by rival.
    rates : list of float
        Median matrix-product rate of each round, in FLOP/s; empty if none was requested.
    values : dict of str to list of Values
        Values by rival.
    """

    seconds: dict[str, list[float]] = field(default_factory=dict)
    rates: list[float] = field(default_factory=list)
    values: dict[str, list[Values]] = field(default_factory=dict)

    def time(self, name: str) -> Spread:
        """Return the seconds of a run."""
        return Spread.of(self.seconds[name])

    def per_second(self, name: str, amount: int) -> Spread:
        """Return the speed of a rival that does this amount of work in a run."""
        return Spread.of([amount / s for s in self.seconds[name]])

    def ratio(self, name: str, other: str) -> Spread:
        """Return its time over the other's in each round, so that the machine's drift cancels."""
        pairs = zip(self.seconds[name], self.seconds[other], strict=True)
        return Spread.of([one / two for one, two in pairs])

    def limit(self, name: str, flops: float) -> Spread:
        """Return the share of the matrix-product rate that a run's needed FLOPs reach."""
        pairs = zip(self.seconds[name], self.rates, strict=True)
        return Spread.of([flops / (s * rate) for s, rate in pairs])

    def entries(
        self,
        unit: str,
        amount: int,
        memory: Mapping[str, int],
        flops: Mapping[str, float] | None = None,
    ) -> tuple[Entry, ...]:
        """Return the row of each rival.

        Parameters
        ----------
        unit, amount : str, int
            What a run processes, and how many of it.
        memory : mapping of str to int
            Peak of each rival, in bytes.
        flops : mapping of str to float, optional
            FLOPs that a run of each rival needs, if known.
        """
        return tuple(
            Entry(
                name=name,
                seconds=self.time(name),
                unit=unit,
                per_second=self.per_second(name, amount),
                limit=None if flops is None else self.limit(name, flops[name]),
                memory_bytes=memory.get(name),
            )
            for name in self.seconds
        )

    def rate(self, shape: str) -> Rate:
        """Return the matrix-product rate."""
        return Rate(shape=shape, gflops=Spread.of([rate / 1e9 for rate in self.rates]))


def alternate(
    rivals: Mapping[str, Rival],
    rounds: int,
    product: MatrixProduct | None = None,
    on_run: Callable[[], None] = _nothing,
) -> Timed:
    """Let rivals run in turns: once to warm up, and then for some rounds.

    Parameters
    ----------
    rivals : mapping of str to Rival
        The rivals by name.
    rounds : int
        Number of rounds that count.
    product : MatrixProduct, optional
        Measured before each run.
    on_run : callable
        Called after each run.
    """
    timed = Timed({name: [] for name in rivals}, [], {name: [] for name in rivals})
    for count in range(rounds + 1):
        rates = []
        for name, rival in rivals.items():
            if product is not None:
                rates.append(product.measure())
            rival.before()
            gc.collect()
            synchronize()
            begin = time.perf_counter()
            result = rival.run() if count or rival.warm_up is None else rival.warm_up()
            synchronize()
            seconds = time.perf_counter() - begin
            if count:
                timed.seconds[name].append(seconds)
                timed.values[name].append(rival.read(result))
            del result
            on_run()
        if count and rates:
            timed.rates.append(float(np.median(rates)))
    return timed


def compare(
    timed: Timed, what: str, allowed: float, reference: str, relative: bool = False
) -> Agreement:
    """Compare a value of all rivals with that of one, in every round.

    Parameters
    ----------
    timed : Timed
        Measurements with values.
    what : str
        Name of the value; a rival without it is not compared.
    allowed : float
        Largest allowed difference, absolute or (if `relative`) as a share of the value.
    reference : str
        The rival whose value is correct.

    Raises
    ------
    IntegrityError
        If a rival gives a different value: then its time means nothing.
    """
    worst = 0.0
    for name, rounds in timed.values.items():
        for found, right in zip(rounds, timed.values[reference], strict=True):
            if what not in found:
                continue
            worst = max(
                worst,
                check_equal(what, name, found[what], reference, right[what], allowed, relative),
            )
    return Agreement(what=what, difference=worst, allowed=allowed, relative=relative)


def check_equal(
    what: str,
    name: str,
    found: NDArray[np.float64],
    reference: str,
    right: NDArray[np.float64],
    allowed: float,
    relative: bool = False,
) -> float:
    """Return the largest difference between two rivals' values (see :func:`compare`)."""
    assert found.shape == right.shape, (what, found.shape, right.shape)
    differences = np.abs(found - right) / (np.abs(right) if relative else 1.0)
    worst = float(differences.max())
    if not worst <= allowed:
        place = int(differences.argmax())
        raise IntegrityError(
            f"bench: {what} of '{name}' is {found.flat[place]:.8g}, of '{reference}' "
            f"{right.flat[place]:.8g}: they do not do the same work, so no times are compared"
        )
    return worst


def synchronize() -> None:
    """Wait until a GPU has finished its work."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
