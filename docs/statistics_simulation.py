"""The tables of ``statistics.md``: ``statistics_simulation.py [STUDIES]``, minutes on one core.

Studies with known effects, their intervals, tests and power.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from numpy.typing import NDArray

from wmss_cli.results.crossed import LEVEL, Floats, parts, score_interval
from wmss_cli.results.power import Assumptions, chances, detectable_difference, power_of

SEEDS = (2, 3, 5)
PROBLEMS = (30, 100, 500, 1319)
ACCURACIES = (0.05, 0.5, 0.9)
SEED_SDS = (0.0, 0.005, 0.01, 0.02)
NINE = {f"task {i}": n for i, n in enumerate((30, 30, 40, 83, 164, 272, 378, 500, 1319))}
"""Nine tasks of the sizes that benchmarks have."""

_QUANTILES = 4096
_AT_ONCE = 2_000_000
_AGAIN = 10
"""How many times more studies are simulated where a cell is outside of its bounds."""
_WIDEST = 2.4
"""Standard deviations at which a seed's effect ends, so that accuracies stay within 0 and 1."""


@dataclass(frozen=True)
class Cell:
    """Studies of one kind.

    Attributes
    ----------
    problems : mapping
        By task.
    seeds, samples : int
        Of each arm, and of each problem.
    assumed : Assumptions
        How answers are drawn.
    effect : float
        Difference of the third arm to the first; the second has none.
    """

    problems: Mapping[str, int]
    seeds: int
    samples: int
    assumed: Assumptions
    effect: float


@dataclass(frozen=True)
class Found:
    """Shares of the studies of a cell.

    Attributes
    ----------
    mean : float
        In which the interval of an arm's accuracy holds the true one.
    difference : float
        In which the interval of the difference with an effect holds it.
    false_positives : float
        In which two equal arms differ.
    power, promised : float
        In which the effect is found, and how many that was to be.
    bootstrap : float
        In which the bootstrap over seeds holds the true accuracy.
    """

    mean: float
    difference: float
    false_positives: float
    power: float
    promised: float
    bootstrap: float


def cell(
    problems: Mapping[str, int],
    seeds: int,
    accuracy: float = 0.5,
    seed_sd: float = 0.01,
    samples: int = 1,
    assumed: Assumptions | None = None,
) -> Cell:
    """Return studies whose effect is the one that 80 % of them are to find, where there is one."""
    own = replace(assumed or Assumptions(), accuracy=accuracy, seed_sd=seed_sd)
    effect = detectable_difference(problems, seeds, samples, assumed=own)
    # The accuracies of all seeds stay below 1.
    return Cell(problems, seeds, samples, own, min(effect, 0.95 - accuracy))


def simulate(cell: Cell, studies: int, rng: np.random.Generator) -> Found:
    """Simulate studies and count what their intervals and tests say."""
    block = max(1, min(studies, _AT_ONCE // (sum(cell.problems.values()) * cell.seeds)))
    sizes = [min(block, studies - done) for done in range(0, studies, block)]
    judged = np.concatenate([_judged(cell, size, rng) for size in sizes], axis=1)
    mean, difference, false, power, boot = (float(share) for share in judged.mean(axis=1))
    promised = power_of(cell.effect, cell.problems, cell.seeds, cell.samples, LEVEL, cell.assumed)
    return Found(mean, difference, false, power, promised, boot)


def draw(cell: Cell, studies: int, rng: np.random.Generator) -> list[dict[str, Floats]]:
    """Return the scores of three arms: by task ``[studies, seeds, problems]``.

    A problem's chance to be solved is Beta-distributed over problems; an arm, and a seed of an
    arm, finds some problems harder or easier than others do: for these it is drawn anew. A seed's
    accuracy differs, and is reached by turning a share of right answers, or of wrong ones.
    """
    own = cell.assumed
    redrawn_by_arm = 1.0 - np.sqrt(own.other_arm / own.same_arm)
    redrawn_by_seed = 1.0 - np.sqrt(own.same_arm / own.same_model)
    at = {task: _places((studies, 1, n), rng) for task, n in cell.problems.items()}
    arms = []
    for accuracy in (own.accuracy, own.accuracy, own.accuracy + cell.effect):
        table = chances(accuracy, own.same_model, _QUANTILES).astype(np.float32)
        shared = _seed_effects(cell, studies, rng)
        arm = {}
        for task, n in cell.problems.items():
            places = _redrawn(at[task], redrawn_by_arm, (studies, 1, n), rng)
            places = _redrawn(places, redrawn_by_seed, (studies, cell.seeds, n), rng)
            effect = shared
            if len(cell.problems) > 1:
                alone = _seed_effects(cell, studies, rng)
                part = own.seed_over_tasks
                effect = np.sqrt(part) * shared + np.sqrt(1.0 - part) * alone
            turned = np.where(effect > 0, effect / (1.0 - accuracy), effect / accuracy)[..., None]
            chance = table[places]
            chance += np.where(turned > 0, 1.0 - chance, chance) * turned.astype(np.float32)
            right = np.zeros(chance.shape)
            for _ in range(cell.samples):
                right += rng.random(chance.shape, dtype=np.float32) < chance
            arm[task] = right / cell.samples
        arms.append(arm)
    return arms


def _judged(cell: Cell, studies: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Return the five verdicts of :class:`Found` for each study: ``[5, studies]``."""
    first, equal, better = draw(cell, studies, rng)
    mean = _mean(first).mean(axis=-1)
    low, high = score_interval(mean, parts(first), first)
    holds_mean = (low <= cell.assumed.accuracy) & (cell.assumed.accuracy <= high)
    by_seed, half = _difference(first, better)
    none, none_half = _difference(first, equal)
    low, high = _bootstrapped(by_seed)
    return np.array(
        [
            holds_mean,
            np.abs(by_seed.mean(axis=-1) - cell.effect) <= half,
            np.abs(none.mean(axis=-1)) > none_half,
            np.abs(by_seed.mean(axis=-1)) > half,
            (low <= cell.effect) & (cell.effect <= high),
        ]
    )


def _difference(first: dict[str, Floats], second: dict[str, Floats]) -> tuple[Floats, Floats]:
    change = {task: second[task] - first[task] for task in first}
    return _mean(change), parts(change, differences=True).half_width()


def _mean(scores: dict[str, Floats]) -> Floats:
    """Return the mean over tasks of each seed: ``[studies, seeds]``."""
    means: Floats = np.mean([values.mean(axis=-1) for values in scores.values()], axis=0)
    return means


def _bootstrapped(by_seed: Floats) -> tuple[Floats, Floats]:
    """Return the percentile interval over all ways to draw as many seeds with replacement."""
    seeds = by_seed.shape[-1]
    drawn = np.array(list(product(range(seeds), repeat=seeds)))
    low, high = np.quantile(by_seed[:, drawn].mean(axis=-1), [LEVEL / 2, 1 - LEVEL / 2], axis=-1)
    return low, high


def _seed_effects(cell: Cell, studies: int, rng: np.random.Generator) -> Floats:
    normal = rng.standard_normal((studies, cell.seeds))
    return cell.assumed.seed_sd * np.clip(normal, -_WIDEST, _WIDEST)


def _places(shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.uint16]:
    return rng.integers(0, _QUANTILES, shape, dtype=np.uint16)


def _redrawn(
    places: NDArray[np.uint16], share: float, shape: tuple[int, ...], rng: np.random.Generator
) -> NDArray[np.uint16]:
    anew = rng.random(shape, dtype=np.float32) < share
    return np.where(anew, _places(shape, rng), places)


def cells() -> Iterator[tuple[str, list[Cell]]]:
    """Yield the rows of the table: a name, and the cells that it sums up."""
    for seeds in SEEDS:
        for n in PROBLEMS:
            one = {"task": n}
            grid = [cell(one, seeds, a, sd) for a in ACCURACIES for sd in SEED_SDS]
            yield f"{seeds} | {n:,}", grid
        nine = [cell(NINE, seeds, a, sd) for a in (0.5, 0.9) for sd in SEED_SDS]
        yield f"{seeds} | nine tasks, {sum(NINE.values()):,}", nine
        four = [cell({"task": n}, seeds, 0.5, sd, 4) for n in (30, 500) for sd in SEED_SDS]
        yield f"{seeds} | 30 and 500, 4 answers each", four


def _range(values: list[float]) -> str:
    return f"{100 * min(values):.1f} to {100 * max(values):.1f}"


def main(studies: int) -> None:
    """Print the table, then the cells outside of the bounds."""
    rng = np.random.default_rng(0)
    print("| seeds | problems | accuracy | difference | bootstrap | false | power off by |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    outside = []
    for name, row in cells():
        found = [simulate(one, studies, rng) for one in row]
        columns = [
            _range([f.mean for f in found]),
            _range([f.difference for f in found]),
            _range([f.bootstrap for f in found]),
            _range([f.false_positives for f in found]),
            _range([f.power - f.promised for f in found]),
        ]
        print(f"| {name} | {' | '.join(columns)} |", flush=True)
        outside += [
            line
            for own, of_cell in zip(row, found, strict=True)
            if list(_misses(name, own, of_cell))
            # Of so many cells some are outside by chance.
            for line in _misses(name, own, simulate(own, _AGAIN * studies, rng))
        ]
    print(f"\nOutside of the bounds, and again with {_AGAIN * studies:,} studies:\n")
    print("| seeds | problems | accuracy of the arm | sd of seeds | effect | outside |")
    print("| --- | --- | --- | --- | --- | --- |")
    print("\n".join(outside))


def _misses(name: str, cell: Cell, found: Found) -> Iterator[str]:
    where = f"{name} | {cell.assumed.accuracy} | {100 * cell.assumed.seed_sd} "
    where += f"| {100 * cell.effect:.1f}"
    for what in ("mean", "difference"):
        value = getattr(found, what)
        if not 0.93 <= value <= 0.98:
            yield f"| {where} | {what}: {100 * value:.1f} |"
    if found.false_positives > 0.06:
        yield f"| {where} | false positives: {100 * found.false_positives:.1f} |"
    if abs(found.power - found.promised) > 0.05:
        yield (f"| {where} | power: {100 * found.power:.1f}, promised {100 * found.promised:.1f} |")


if __name__ == "__main__":
    main(int([*sys.argv[1:], "1000"][0]))
