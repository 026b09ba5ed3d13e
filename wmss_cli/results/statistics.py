"""How certain an accuracy is, what several answers say, and whether two models differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations
from math import comb

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln
from scipy.stats import binomtest, bootstrap

_RESAMPLES = 10_000
_CHUNK = 1_000
_MOST_CHOICES = 500
_SEED = 0
_NORMAL_95 = 1.959964

Floats = NDArray[np.float64]


def wilson_interval(successes: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return the Wilson score interval of a proportion, without continuity correction.

    Parameters
    ----------
    successes, n : int
        Number of right answers and of all answers; `n` is at least 1.
    confidence : float
        Probability that such an interval contains the true proportion.

    Returns
    -------
    low, high : float
        The interval, within 0 and 1.

    References
    ----------
    E. B. Wilson, "Probable inference, the law of succession, and statistical inference",
    Journal of the American Statistical Association 22 (1927).
    """
    interval = binomtest(successes, n).proportion_ci(confidence, method="wilson")
    return float(interval.low), float(interval.high)


def bootstrap_interval(values: Floats) -> tuple[float, float]:
    """Return the 95 % percentile bootstrap interval of a mean over problems.

    Problems are resampled, not answers, since several answers to one problem are not independent.

    Parameters
    ----------
    values : ndarray
        ``[problems]``, such as the share of right answers to each.

    References
    ----------
    B. Efron, "Bootstrap methods: another look at the jackknife", Annals of Statistics 7 (1979).
    """
    if len(values) == 1:  # its only resample is itself
        return float(values[0]), float(values[0])
    found = bootstrap(
        (values,),
        np.mean,
        n_resamples=_RESAMPLES,
        batch=_CHUNK,
        confidence_level=0.95,
        method="percentile",
        rng=np.random.default_rng(_SEED),
    ).confidence_interval
    return float(found.low), float(found.high)


def pass_at_k(correct: NDArray[np.int64], n: int, k: int) -> Floats:
    """Return the unbiased estimate of pass@k for each problem, 1 - C(n - c, k) / C(n, k).

    Parameters
    ----------
    correct : ndarray of int
        ``[problems]``: c, how many of the answers to each problem are right.
    n : int
        Number of answers to each problem.
    k : int
        At most `n`.

    References
    ----------
    M. Chen et al., "Evaluating large language models trained on code" (2021), Eq. 1.
    """
    assert 1 <= k <= n
    wrong = n - np.asarray(correct)
    some_miss = wrong >= k
    safe = np.where(some_miss, wrong, k)
    # With logarithms, since the binomial coefficients of many answers exceed a float.
    misses = np.exp(_log_choose(safe, k) - _log_choose(np.asarray(n), k))
    return 1.0 - np.where(some_miss, misses, 0.0)


def majority_at_k(answers: Sequence[str | None], correct: Sequence[bool], k: int) -> float:
    """Return the probability that the most frequent of `k` answers to a problem is right (maj@k).

    This is the mean over all choices of `k` answers, or over 500 random ones if there are more.
    Answers are equal if they are written alike; a missing answer has no vote. Ties are broken with
    equal probability.

    Parameters
    ----------
    answers, correct : sequence
        ``[n]``: all answers to one problem, and which of them are right.
    k : int
        At most n.

    References
    ----------
    X. Wang et al., "Self-consistency improves chain of thought reasoning in language models"
    (2022).
    """
    n = len(answers)
    assert 1 <= k <= n
    written = [None if answer is None else _written(answer) for answer in answers]
    names = [name for name in dict.fromkeys(written) if name is not None]
    if not names:
        return 0.0
    is_answer = np.array([[name == one for name in names] for one in written], dtype=np.float64)
    is_right = np.array([correct[written.index(name)] for name in names])
    votes = _choices(n, k) @ is_answer
    most = votes.max(axis=1, keepdims=True)
    leads = (votes == most) & (most > 0)
    return float(((leads & is_right).sum(axis=1) / np.maximum(leads.sum(axis=1), 1)).mean())


@dataclass(frozen=True)
class Difference:
    """The result of a paired comparison of two models on the same problems.

    Attributes
    ----------
    n : int
        Number of problems.
    mean : float
        Accuracy of the second model minus that of the first.
    low, high : float
        Its 95 % interval over problems. With one answer to each problem it is Agresti and Min's,
        which has a width even if all verdicts agree; otherwise it is a bootstrap interval.
    p : float
        Probability of a difference at least as large if both models are equally good: exact
        McNemar test with one answer to each problem, else a sign-flip test.
    """

    n: int
    mean: float
    low: float
    high: float
    p: float


def paired_difference(first: Floats, second: Floats) -> Difference:
    """Compare two models on the same problems.

    Parameters
    ----------
    first, second : ndarray
        ``[problems]``: the share of right answers to each; 0 or 1 with one answer.

    References
    ----------
    Q. McNemar, "Note on the sampling error of the difference between correlated proportions or
    percentages", Psychometrika 12 (1947). A. Agresti and Y. Min, "Simple improved confidence
    intervals for comparing matched proportions", Statistics in Medicine 24 (2005).
    """
    change = np.asarray(second, dtype=np.float64) - np.asarray(first, dtype=np.float64)
    single = bool(np.isin(first, (0.0, 1.0)).all() and np.isin(second, (0.0, 1.0)).all())
    low, high = _adjusted_interval(change) if single else bootstrap_interval(change)
    p = _mcnemar(change) if single else _sign_flips(change)
    return Difference(len(change), float(change.mean()), low, high, p)


def holm(p: Sequence[float]) -> list[float]:
    """Return p values corrected for their number, in the same order.

    References
    ----------
    S. Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of
    Statistics 6 (1979).
    """
    order = np.argsort(np.asarray(p), kind="stable")
    corrected = np.empty(len(p))
    highest = 0.0
    for rank, place in enumerate(order):
        highest = max(highest, min(1.0, (len(p) - rank) * p[place]))
        corrected[place] = highest
    return [float(value) for value in corrected]


def _adjusted_interval(change: Floats) -> tuple[float, float]:
    """Return Wald's interval after half a problem is added to each cell of the verdicts' table."""
    n = len(change) + 2.0
    gained, lost = float((change > 0).sum()) + 0.5, float((change < 0).sum()) + 0.5
    centre = (gained - lost) / n
    margin = _NORMAL_95 * np.sqrt(gained + lost - n * centre**2) / n
    return max(-1.0, float(centre - margin)), min(1.0, float(centre + margin))


def _mcnemar(change: Floats) -> float:
    gained, lost = int((change > 0).sum()), int((change < 0).sum())
    return float(binomtest(gained, gained + lost).pvalue) if gained + lost else 1.0


def _sign_flips(change: Floats) -> float:
    """Return how often the mean is at least as far from zero when each sign is drawn anew.

    ``scipy.stats.permutation_test`` draws different signs, so its p values differ, and it takes up
    to ten times as long.
    """
    moved = change[change != 0.0]
    if not len(moved):
        return 1.0
    rng = np.random.default_rng(_SEED)
    observed = abs(moved.sum())
    as_far = 0
    for _ in range(_RESAMPLES // _CHUNK):
        signs = rng.integers(0, 2, (_CHUNK, len(moved))) * 2 - 1
        # The same terms summed in another order differ in the last bit.
        as_far += int((np.abs(signs @ moved) >= observed - 1e-9).sum())
    return (as_far + 1) / (_RESAMPLES + 1)


def _written(answer: str) -> str:
    # White space has a meaning in a program.
    return answer.strip() if "\n" in answer.strip() else " ".join(answer.split())


@lru_cache(maxsize=16)
def _choices(n: int, k: int) -> Floats:
    """Return choices of k out of n, as zeros and ones: ``[choices, n]``."""
    if comb(n, k) <= _MOST_CHOICES:
        chosen = np.array(list(combinations(range(n), k)))
    else:
        rng = np.random.default_rng(_SEED)
        chosen = np.array([rng.permutation(n)[:k] for _ in range(_MOST_CHOICES)])
    choices = np.zeros((len(chosen), n))
    np.put_along_axis(choices, chosen, 1.0, axis=1)
    return choices


def _log_choose(n: NDArray[np.int64], k: int) -> Floats:
    logarithm: Floats = gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1)
    return logarithm
