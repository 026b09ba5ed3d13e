"""The smallest difference that a study can find, given its sizes, before anything is run.

The power is the probability that the interval of :mod:`wmss_cli.results.crossed` does not contain
zero. It is integrated over the variance of the seeds' means, which is very uncertain with few
seeds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, lru_cache

import numpy as np
from scipy.optimize import brentq
from scipy.special import betaincinv, chdtri, ndtr, stdtrit
from scipy.stats import binom

from wmss_cli.results.crossed import LEVEL, Floats, Parts, agreeing, raised_by

POWER = 0.8
"""The usual power for planning a study."""

_SEED_STEPS = 400
_PROBLEM_STEPS = 20
"""Number of quantiles of the two mean squares over which the power is integrated."""
_SMALLEST = 1e-4


@dataclass(frozen=True)
class Assumptions:
    """What is assumed about models and problems before a run.

    The probability of solving a problem has a Beta distribution over problems. The better arm's is
    higher on each problem, apart from what each arm finds hard or easy for itself.

    Correlations are between two answers to one problem, each right or wrong. They determine how
    much pairing helps (Miller 2024); the values are assumptions.

    Attributes
    ----------
    accuracy : float
        Accuracy of the first arm; the variance of an answer is accuracy * (1 - accuracy). One half
        is the worst case.
    same_model : float
        Correlation of two sampled answers of the same model.
    same_arm : float
        Correlation of the answers of two seeds of the same arm.
    other_arm : float
        Correlation of the answers of two equally good arms, with the same seed or not.
    seed_sd : float
        Standard deviation over seeds of an arm's true accuracy on a task. In runs of a model with
        0.37M parameters, paired differences varied by about two points over seeds with 1,000
        problems. Two independent trainings differ by 1.7 points by chance there, which leaves
        about one point for each arm. For models with 4B parameters nothing is known.
    seed_over_tasks : float
        Correlation of the effects of a seed on two tasks.

    References
    ----------
    E. Miller, "Adding error bars to evals: a statistical approach to language model evaluations"
    (2024), arXiv:2411.00640.
    """

    accuracy: float = 0.5
    same_model: float = 0.6
    same_arm: float = 0.55
    other_arm: float = 0.5
    seed_sd: float = 0.01
    seed_over_tasks: float = 0.5

    def __post_init__(self) -> None:
        if not 0.0 < self.accuracy < 1.0:
            raise ValueError(f"accuracy is {self.accuracy}; it must be between 0 and 1")
        if not 1.0 > self.same_model >= self.same_arm >= self.other_arm > 0.0:
            raise ValueError(
                "correlations must fall from same_model to same_arm to other_arm, within 0 and 1"
            )
        if self.seed_sd < 0.0 or not 0.0 <= self.seed_over_tasks <= 1.0:
            raise ValueError("seed_sd must not be negative, seed_over_tasks must be within 0 and 1")


DEFAULT = Assumptions()


def power_of(
    difference: float,
    problems: Mapping[str, int],
    seeds: int,
    samples: int = 1,
    level: float = LEVEL,
    assumed: Assumptions = DEFAULT,
) -> float:
    """Return the probability that a study finds a true difference between two arms.

    With two or more seeds the question is about the arms, whatever the seed. With one seed it is
    about the two models at hand; with one task and one answer to each problem the test is
    McNemar's, whose power is summed over the number of problems on which the models differ.

    Parameters
    ----------
    difference : float
        True difference, as a share of 1; the same on each task. The second arm is better if that
        accuracy is possible, otherwise it is worse.
    problems : mapping of str to int
        Number of problems by task. The power is for one task, or for the mean over several.
    seeds, samples : int
        Seeds per arm, and answers to each problem.
    level : float
        Level of the two-sided test.
    assumed : Assumptions
        Assumptions about accuracy, correlations and seeds.

    Raises
    ------
    ValueError
        If no accuracy differs by this much from the assumed one.

    References
    ----------
    R. A. Parker and D. A. Bregman, "Sample size for individually matched case-control studies",
    Biometrics 42 (1986), for the sum over discordant pairs; the rest uses the normal distribution
    of the mean given the width of its interval.
    """
    difference = abs(difference)
    of_problem, of_residual, discordant = _variances(difference, samples, assumed)
    if seeds == 1 and samples == 1 and len(problems) == 1:
        (count,) = problems.values()
        return _mcnemar_power(difference, discordant, count, level)
    shared = of_problem + of_residual / seeds
    counts = np.array(list(problems.values()), dtype=np.float64)
    weight = 1.0 / len(counts)
    scale = weight**2 / counts
    true_problems = float((scale * shared).sum())
    squares = (scale * shared) ** 2 / np.maximum(counts - 1.0, 1.0)
    problems_df = float(true_problems**2 / squares.sum()) if true_problems > 0.0 else 1.0
    # How much the estimate is raised if few problems differ, as in crossed.parts; the fourth
    # moment is that of a normal around the difference, and of few answers.
    square = difference**2
    fourth = 3.0 * shared**2 + 6.0 * shared * square + square**2
    fourth += max(of_residual - 3.0 * of_residual**2, 0.0) / seeds**3
    raised = float((weight**4 * fourth / counts**3).sum())
    raised = 1.0 + raised_by(seeds) * raised / float((scale * (shared + square)).sum()) ** 2
    found_problems = true_problems * raised * _chi_square(problems_df, _PROBLEM_STEPS)[:, None]
    true_seeds, residual = 0.0, 0.0
    found_seeds = np.zeros((1, 1))
    if seeds > 1:
        over_tasks = assumed.seed_over_tasks + (1.0 - assumed.seed_over_tasks) * weight
        true_seeds = 2.0 * assumed.seed_sd**2 * over_tasks / seeds
        residual = float((scale * of_residual).sum()) / seeds
        found_seeds = (true_seeds + residual) * _chi_square(seeds - 1, _SEED_STEPS)[None, :]
    found = Parts(
        *(found_problems, found_seeds, np.array(residual), np.array(problems_df)),
        count=seeds,
        agreeing=agreeing(seeds, differences=True),
    )
    half, variance = found.half_width(level), true_problems + true_seeds
    # Larger gains raise the mean and its variance together, so a larger mean has a wider
    # interval: by `wider` for each unit of the mean.
    third = _third_moment(difference, seeds, samples, assumed)
    together = float((weight**3 * third / counts**2).sum()) / variance
    wider = np.minimum(stdtrit(problems_df, level / 2.0) ** 2 * together / (2.0 * half), 0.9)
    error = np.sqrt(variance)
    beyond = ndtr((difference - half) / (error * (1.0 - wider)))
    beyond = beyond + ndtr((-difference - half) / (error * (1.0 + np.maximum(wider, 0.0))))
    return float(beyond.mean())


def detectable_difference(
    problems: Mapping[str, int],
    seeds: int,
    samples: int = 1,
    level: float = LEVEL,
    assumed: Assumptions = DEFAULT,
) -> float:
    """Return the smallest true difference that a study finds with a power of :data:`POWER`.

    Parameters
    ----------
    problems, seeds, samples, level, assumed
        As in :func:`power_of`, which is inverted.

    Returns
    -------
    float
        As a share of 1; infinite if even the largest possible difference is found less often.
    """
    return _detectable(tuple(problems.values()), seeds, samples, level, assumed)


@cache
def _detectable(
    counts: tuple[int, ...], seeds: int, samples: int, level: float, assumed: Assumptions
) -> float:
    problems = {str(task): count for task, count in enumerate(counts)}

    def short_of(difference: float) -> float:
        return power_of(difference, problems, seeds, samples, level, assumed) - POWER

    largest = max(assumed.accuracy, 1.0 - assumed.accuracy) - _SMALLEST
    if short_of(largest) < 0.0:
        return float("inf")
    if short_of(_SMALLEST) >= 0.0:
        return _SMALLEST
    return float(brentq(short_of, _SMALLEST, largest, xtol=1e-6))


@lru_cache(maxsize=256)
def chances(accuracy: float, correlation: float, count: int = 256) -> Floats:
    """Return probabilities of solving a problem, in equal steps of difficulty: ``[count]``, rising.

    They are quantiles of the Beta distribution with this mean, in which two answers to a problem
    are correlated by 1 / (a + b + 1) = `correlation`; shifted so that their mean is exact.
    """
    size = 1.0 / correlation - 1.0
    middle = (np.arange(count) + 0.5) / count
    found = betaincinv(accuracy * size, (1.0 - accuracy) * size, middle)
    short = accuracy - found.mean()
    if short > 0.0:
        found = found + (1.0 - found) * short / (1.0 - found.mean())
    else:
        found = found * (1.0 + short / found.mean())
    exact: Floats = found
    # All who ask get the same array.
    exact.flags.writeable = False
    return exact


def _other_accuracy(difference: float, assumed: Assumptions) -> float:
    for other in (assumed.accuracy + difference, assumed.accuracy - difference):
        if 0.0 < other < 1.0:
            return other
    raise ValueError(f"no accuracy differs by {difference} from {assumed.accuracy}")


def _variances(difference: float, samples: int, assumed: Assumptions) -> tuple[float, float, float]:
    """Return the variances of a paired difference on a problem.

    Returns
    -------
    of_problem : float
        The component that all seeds share.
    of_residual : float
        The component that each seed has for itself.
    discordant : float
        Mean square of the difference with one seed.
    """
    other = _other_accuracy(difference, assumed)
    first, second = (a * (1.0 - a) for a in (assumed.accuracy, other))
    both = first + second
    # Arms of different accuracy are less correlated than two of equal accuracy: the problems that
    # are easy for one are not the easy ones of the other.
    easy, hard = (chances(a, assumed.same_model) for a in (assumed.accuracy, other))
    kept = np.cov(easy, hard)[0, 1] / np.sqrt(easy.var(ddof=1) * hard.var(ddof=1))
    shared = 2.0 * assumed.other_arm * kept * np.sqrt(first * second)
    one_seed = both * (1.0 / samples + (1.0 - 1.0 / samples) * assumed.same_model) - shared
    of_problem = both * assumed.same_arm - shared
    return float(of_problem), float(one_seed - of_problem), float(one_seed + difference**2)


def _third_moment(difference: float, seeds: int, samples: int, assumed: Assumptions) -> float:
    """Return the third central moment, over problems, of the difference that all seeds share.

    Given a problem, the answers of a seed are independent, and the difference is -1, 0 or 1.
    """
    other = _other_accuracy(difference, assumed)
    share = np.sqrt(assumed.same_arm / assumed.same_model)
    first, second = (
        share * chances(a, assumed.same_model) + (1.0 - share) * a
        for a in (assumed.accuracy, other)
    )
    both_find_it_so = assumed.other_arm / assumed.same_arm
    moments = []
    for paired in (second, np.random.default_rng(0).permutation(second)):
        mean = paired - first
        square = first * (1.0 - paired) + paired * (1.0 - first)
        within = (square - mean**2) / (seeds * samples)
        skew = (mean - 3.0 * mean * square + 2.0 * mean**3) / (seeds * samples) ** 2
        centred = mean - (other - assumed.accuracy)
        moments.append((centred**3 + 3.0 * centred * within + skew).mean())
    found = both_find_it_so * moments[0] + (1.0 - both_find_it_so) * moments[1]
    return float(found if other > assumed.accuracy else -found)


def _mcnemar_power(difference: float, discordant: float, count: int, level: float) -> float:
    differ, lost = np.arange(count + 1), _rejected(count, level)
    discordant = min(max(discordant, difference), 1.0)
    gains = (discordant + difference) / (2.0 * discordant)
    rejects = binom.cdf(lost, differ, 1.0 - gains) + binom.cdf(lost, differ, gains)
    return float((binom.pmf(differ, count, discordant) * rejects).sum())


@lru_cache(maxsize=256)
def _rejected(count: int, level: float) -> Floats:
    """Return, by how many problems differ, with how few of them for one arm McNemar rejects."""
    differ = np.arange(count + 1)
    lost = binom.ppf(level / 2.0, differ, 0.5)
    most: Floats = np.where(binom.cdf(lost, differ, 0.5) > level / 2.0, lost - 1, lost)
    return most


def _chi_square(df: float, steps: int) -> Floats:
    """Return chi-square divided by its mean, in equal steps of probability: ``[steps]``."""
    tails = (np.arange(steps) + 0.5) / steps
    values: Floats = chdtri(df, tails) / df
    return values
