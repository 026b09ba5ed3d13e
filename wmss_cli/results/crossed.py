"""What several seeds on the same problems say about an arm, and about the difference of two.

Every seed answers every problem: the two factors are crossed, and both make a mean uncertain. A
seed is the same training on all tasks; problems are nested in tasks.

The model of a score is y = mean + seed + problem + residual, and the quantity of interest weights
all tasks equally. With w = 1/tasks, the variance of the mean is estimated from three quantities
(Cornfield and Tukey's mean squares, divided by the number of scores):

- T_s, the variance of the seeds' own means, divided by the number of seeds: its expectation is
  the seeds' component plus the residual's;
- T_p = sum of w² MS_problem / (seeds · problems) over tasks: the problems' component plus the
  residual's;
- T_e = sum of w² MS_residual / (seeds · problems): the residual's component, which both contain.

So T_p + T_s - T_e is unbiased. But with two seeds a t quantile with Satterthwaite's degrees of
freedom for it covers as little as 87 %, since the seeds' component has a single degree of freedom.
Here the half-width of the interval is the square root of
t²(df of T_p) · T_p + t²(seeds - 1) · T_s: each variance has its own t quantile, and Banerjee showed
that such an interval keeps its level. This counts the residual twice and is too wide if seeds do
not differ, so T_s is left out if it is below k · T_e: a preliminary test in the manner of Bozivich,
Bancroft and Hartley. The values of k (see :func:`_kept_above`) and the factor that T_p is then
multiplied by (see :func:`agreeing`) are chosen such that intervals cover 94 to 98 %, whatever the
three components are (docs/statistics.md).

References
----------
J. Cornfield and J. W. Tukey, "Average values of mean squares in factorials", Annals of
Mathematical Statistics 27 (1956).
F. E. Satterthwaite, "An approximate distribution of estimates of variance components", Biometrics
Bulletin 2 (1946).
S. K. Banerjee, "Approximate confidence interval for linear functions of means of k populations
when the population variances are not equal", Sankhya 22 (1960).
H. Bozivich, T. A. Bancroft and H. O. Hartley, "Power of analysis of variance test procedures for
certain incompletely specified models", Annals of Mathematical Statistics 27 (1956).
A. B. Owen, "The pigeonhole bootstrap", Annals of Applied Statistics 1 (2007): why resampling one
of two crossed factors is not enough.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri, stdtr, stdtrit

from wmss_cli.results.statistics import paired_difference, wilson_interval

LEVEL = 0.05
"""One minus the confidence of every interval."""
_ROUNDING = 1e-24
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """The accuracy of an arm, as a share of 1.

    Attributes
    ----------
    mean : float
        Mean over tasks of the mean over seeds and problems.
    low, high : float
        Its 95 % interval.
    standard_error : float
        Due to problems and seeds together.
    df : float
        Degrees of freedom of the t quantile of the interval: between those of the seeds and those
        of the problems, nearer to those of the larger component.
    problems, seeds : int
        Their numbers.
    covers_seeds : bool
        Whether the interval also covers other seeds: False if there is only one.
    """

    mean: float
    low: float
    high: float
    standard_error: float
    df: float
    problems: int
    seeds: int
    covers_seeds: bool


@dataclass(frozen=True)
class SeedDifference:
    """The difference of two arms, paired by problem and by seed: the second minus the first.

    Attributes
    ----------
    mean, low, high, standard_error, df, problems, seeds, covers_seeds
        As in :class:`Estimate`.
    p : float
        Probability of a difference at least as large if both arms are equally good.
    seeds_won, seeds_lost : int
        Number of seeds with which the second arm is better, and worse.
    """

    mean: float
    low: float
    high: float
    standard_error: float
    df: float
    p: float
    problems: int
    seeds: int
    covers_seeds: bool
    seeds_won: int
    seeds_lost: int


@dataclass(frozen=True)
class Parts:
    """The components of the variance of a mean over tasks. Arrays are ``[...]``, one entry a study.

    Attributes
    ----------
    problems, seeds, residual : ndarray
        T_p, T_s and T_e as defined above; with one seed the last two are zero.
    problems_df : ndarray
        Degrees of freedom of T_p: Satterthwaite's, for the sum over tasks.
    count : int
        Number of seeds.
    agreeing : float
        Factor of T_p if T_s is left out: see :func:`agreeing`.
    """

    problems: Floats
    seeds: Floats
    residual: Floats
    problems_df: Floats
    count: int
    agreeing: float

    def variance(self) -> Floats:
        """Return the variance of the mean that the 95 % interval is based on: ``[...]``."""
        of_problems, of_seeds = self._counted(LEVEL)
        return of_problems + of_seeds

    def half_width(self, level: float = LEVEL) -> Floats:
        """Return the half-width of the interval with confidence 1 - `level`: ``[...]``."""
        of_problems, of_seeds = self._counted(level)
        squared = stdtrit(self.problems_df, level / 2.0) ** 2 * of_problems
        if self.count > 1:
            squared = squared + stdtrit(self.count - 1, level / 2.0) ** 2 * of_seeds
        half: Floats = np.sqrt(squared)
        return half

    def _counted(self, level: float) -> tuple[Floats, Floats]:
        if self.count == 1:
            return self.problems, self.seeds
        keeps = self.seeds > _kept_above(self.count, level) * self.residual
        # A few seeds that agree far better than chance allows show that T_p, too, is too large.
        alone = self.agreeing * self.problems
        return np.where(keeps, self.problems, alone), np.where(keeps, self.seeds, 0.0)


def parts(scores: Mapping[str, Floats], differences: bool = False) -> Parts:
    """Return the components of the variance of the mean of scores.

    T_p is multiplied by 1 + 1 / n, with n the number of problems that decide it (Kish's effective
    number): with few of them t is too certain. For differences with one answer to each problem this
    adds one to the number of problems on which two arms differ, as Agresti and Min do; with several
    seeds a quarter of it is enough.

    Parameters
    ----------
    scores : mapping
        ``[..., seeds, problems]`` by task: shares of right answers, or differences of them. A task
        with a single problem has the largest possible variance.
    differences : bool
        Whether the scores are differences.

    References
    ----------
    A. Agresti and Y. Min, "Simple improved confidence intervals for comparing matched
    proportions", Statistics in Medicine 24 (2005).
    """
    most = 1.0 if differences else 0.25
    weight = 1.0 / len(scores)
    first = next(iter(scores.values()))
    seeds = first.shape[-2]
    of_problems, of_residual = np.zeros(first.shape[:-2]), np.zeros(first.shape[:-2])
    squares = np.zeros(first.shape[:-2])
    by_seed = np.zeros(first.shape[:-1])
    for values in scores.values():
        count = values.shape[-1]
        by_problem, own = values.mean(axis=-2), values.mean(axis=-1)
        by_seed = by_seed + weight * own
        scale = weight**2 / count
        if count == 1:
            of_problems = of_problems + scale * most
            continue
        spread = by_problem.var(axis=-1, ddof=1)
        of_problems = of_problems + scale * spread
        squares = squares + (scale * spread) ** 2 / (count - 1)
        if seeds > 1:
            grand = own.mean(axis=-1)[..., None, None]
            left = values - own[..., :, None] - by_problem[..., None, :] + grand
            mean_square = (left**2).sum(axis=(-2, -1)) / ((seeds - 1) * (count - 1))
            of_residual = of_residual + scale * mean_square / seeds
    degrees = float(sum(values.shape[-1] - 1 for values in scores.values()))
    df = _ratio(of_problems**2, squares, max(degrees, 1.0))
    few = _one_in_deciding(scores)
    if not differences:
        few = np.maximum(few, _one_in_deciding({t: 1.0 - own for t, own in scores.items()}))
    raised = of_problems * (1.0 + raised_by(seeds) * few)
    if differences:
        # Where all are equal, a little more than if one more were zero; if all are zero, the most.
        alike = np.zeros_like(of_problems)
        for values in scores.values():
            one = np.where(few > 0.0, values.mean(axis=(-2, -1)) ** 2, most)
            alike = alike + (weight / values.shape[-1]) ** 2 * one
        raised = np.where(of_problems > _ROUNDING, raised, alike)
    of_seeds = by_seed.var(axis=-1, ddof=1) / seeds if seeds > 1 else np.zeros_like(raised)
    return Parts(raised, of_seeds, of_residual, df, seeds, agreeing(seeds, differences))


def agreeing(seeds: int, differences: bool) -> float:
    """Return the factor of T_p if seeds agree better than chance; found by simulation."""
    return {2: 0.8}.get(seeds, 1.0) if differences else {2: 0.6, 3: 0.8}.get(seeds, 1.0)


def raised_by(seeds: int) -> float:
    """Return which part of its correction for few problems :func:`parts` makes; by simulation."""
    return 0.25 if seeds > 1 else 1.0


def _one_in_deciding(scores: Mapping[str, Floats]) -> Floats:
    """Return one divided by the effective number of problems with a score > 0, or 0: ``[...]``."""
    squares, fourths = np.zeros(1), np.zeros(1)
    for values in scores.values():
        own = (values.mean(axis=-2) / values.shape[-1]) ** 2
        squares, fourths = squares + own.sum(axis=-1), fourths + (own**2).sum(axis=-1)
    return _ratio(fourths, squares**2, 0.0).reshape(next(iter(scores.values())).shape[:-2])


def estimate(scores: Mapping[str, Floats]) -> Estimate:
    """Return the accuracy of an arm with an interval that covers problems and seeds.

    The interval is Wilson's, with the number of independent answers that would have the observed
    variance (Kish's effective sample size) and with t instead of the normal quantile. So it stays
    within 0 and 1, and has a width even if all answers are right. With one seed and one answer to
    each problem of one task it is exactly Wilson's.

    Parameters
    ----------
    scores : mapping
        ``[seeds, problems]`` by task: shares of right answers; seeds in the same order.

    Raises
    ------
    ValueError
        If there are no scores, or tasks have different numbers of seeds.

    References
    ----------
    E. L. Korn and B. I. Graubard, "Confidence intervals for proportions with small expected
    number of positive counts estimated from survey data", Survey Methodology 24 (1998); C. Franco,
    R. J. A. Little, T. A. Louis and E. V. Slud, "Comparative study of confidence intervals for
    proportions in complex sample surveys", Journal of Survey Statistics and Methodology 7 (2019).
    """
    own = _checked(scores)
    found = parts(own)
    mean = _means(own)
    low, high = (float(value) for value in score_interval(mean, found, own))
    seeds, problems = _size(own)
    only = next(iter(own.values()))
    if seeds == 1 and len(own) == 1 and bool(np.isin(only, (0.0, 1.0)).all()):
        low, high = wilson_interval(int(only.sum()), problems, 1.0 - LEVEL)
    error = float(np.sqrt(found.variance()))
    return Estimate(float(mean), low, high, error, _df(found), problems, seeds, seeds > 1)


def score_interval(
    mean: Floats, found: Parts, scores: Mapping[str, Floats]
) -> tuple[Floats, Floats]:
    """Return Wilson's interval for means with variances, as :func:`estimate` uses it: ``[...]``."""
    binomial = mean * (1.0 - mean)
    # All right or all wrong: one answer per problem counts, since seeds may answer the same.
    fewest = 1.0 / sum(1.0 / values.shape[-1] for values in scores.values()) * len(scores) ** 2
    variance = found.variance()
    certain = (variance <= 0.0) | (binomial <= 0.0)
    n = np.where(certain, fewest, binomial / np.where(certain, 1.0, variance))
    normal = ndtri(1.0 - LEVEL / 2.0)
    t = np.where(certain, normal, found.half_width() / np.sqrt(np.where(certain, 1, variance)))
    centre = (mean + t**2 / (2.0 * n)) / (1.0 + t**2 / n)
    half = t / (1.0 + t**2 / n) * np.sqrt(binomial / n + t**2 / (4.0 * n**2))
    # At 0 and 1 the two are equal except for rounding.
    low = np.where(mean <= 0.0, 0.0, np.maximum(centre - half, 0.0))
    high = np.where(mean >= 1.0, 1.0, np.minimum(centre + half, 1.0))
    return low, high


def difference(first: Mapping[str, Floats], second: Mapping[str, Floats]) -> SeedDifference:
    """Compare two arms by problem and by seed.

    With one seed on both sides and one task it is
    :func:`wmss_cli.results.statistics.paired_difference`, which says nothing about other seeds.

    Parameters
    ----------
    first, second : mapping
        ``[seeds, problems]`` by task: shares of right answers to the same problems with the same
        seeds, in the same order. One side may have a single row, which is then compared with each
        row of the other: the base model, which depends on no seed.

    Raises
    ------
    ValueError
        If tasks, problems or seeds do not match.
    """
    if first.keys() != second.keys():
        raise ValueError(f"tasks {', '.join(first)} and {', '.join(second)} are not the same")
    a, b = _checked(first), _checked(second)
    change = {task: b[task] - a[task] for task in a if _correspond(task, a[task], b[task])}
    found = parts(change, differences=True)
    mean = float(_means(change))
    seeds, problems = _size(change)
    half = float(found.half_width())
    low, high, p = max(mean - half, -1.0), min(mean + half, 1.0), _p(mean, found)
    if seeds == 1 and len(change) == 1:
        (task,) = change
        one = paired_difference(a[task][0], b[task][0])
        low, high, p = one.low, one.high, one.p
    by_seed = np.mean([values.mean(axis=-1) for values in change.values()], axis=0)
    error = float(np.sqrt(found.variance()))
    won, lost = int((by_seed > 1e-12).sum()), int((by_seed < -1e-12).sum())
    return SeedDifference(
        mean, low, high, error, _df(found), p, problems, seeds, seeds > 1, won, lost
    )


def _kept_above(seeds: int, level: float) -> float:
    """Return k as used above: 0.15 with two seeds, 0.75 with three, else 1, at 5 %.

    It falls with the level, so that seeds that do differ are missed by chance proportionally less
    often: by the density of chi-square at zero, that chance is proportional to k to the power of
    (seeds - 1) / 2. Corrected p values depend on this.
    """
    usual = {2: 0.15, 3: 0.75}.get(seeds, 1.0)
    return min(1.0, usual * float((level / LEVEL) ** (2.0 / (seeds - 1))))


def _checked(scores: Mapping[str, Floats]) -> dict[str, Floats]:
    own = {task: np.asarray(values, dtype=np.float64) for task, values in scores.items()}
    shapes = [values.shape for values in own.values()]
    if not shapes or any(len(shape) != 2 or 0 in shape for shape in shapes):
        raise ValueError(f"scores must be [seeds, problems] by task; found {shapes}")
    if len({shape[0] for shape in shapes}) > 1:
        raise ValueError(f"tasks have different numbers of seeds: {shapes}")
    return own


def _correspond(task: str, first: Floats, second: Floats) -> bool:
    if first.shape[1] != second.shape[1] or (
        first.shape[0] != second.shape[0] and 1 not in (first.shape[0], second.shape[0])
    ):
        raise ValueError(f"{task}: [seeds, problems] are {first.shape} and {second.shape}")
    return True


def _size(scores: Mapping[str, Floats]) -> tuple[int, int]:
    shapes = [values.shape for values in scores.values()]
    return shapes[0][-2], sum(shape[-1] for shape in shapes)


def _means(scores: Mapping[str, Floats]) -> Floats:
    means: Floats = np.mean([values.mean(axis=(-2, -1)) for values in scores.values()], axis=0)
    return means


def _ratio(above: Floats, below: Floats, otherwise: float) -> Floats:
    nothing = below <= 0.0
    return np.where(nothing, otherwise, above / np.where(nothing, 1.0, below))


def _p(mean: float, found: Parts) -> float:
    """Return the level at which the end of the interval is exactly zero."""
    low, high = 0.0, 1.0
    for _ in range(60):
        level = (low + high) / 2.0
        low, high = (low, level) if float(found.half_width(level)) < abs(mean) else (level, high)
    return high


def _df(found: Parts) -> float:
    """Return the degrees of freedom of the interval's t quantile."""
    of_problems, of_seeds = float(found.problems_df), found.count - 1.0
    if found.count == 1 or not float(found.variance()):
        return of_problems
    t = float(found.half_width() / np.sqrt(found.variance()))
    low, high = sorted((of_problems, of_seeds))
    for _ in range(60):
        df = float(np.sqrt(low * high))
        low, high = (low, df) if stdtr(df, -t) < LEVEL / 2.0 else (df, high)
    return high
