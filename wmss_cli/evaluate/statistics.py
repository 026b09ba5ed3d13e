"""How sure an accuracy is."""

from __future__ import annotations

from scipy.stats import binomtest


def wilson_interval(successes: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return the Wilson score interval of a proportion, without continuity correction.

    Parameters
    ----------
    successes, n : int
        Right answers among all; `n` is at least 1.
    confidence : float
        Probability that an interval made this way holds the true proportion.

    Returns
    -------
    low, high : float
        Within 0 and 1.

    References
    ----------
    E. B. Wilson, "Probable inference, the law of succession, and statistical inference",
    Journal of the American Statistical Association 22 (1927).
    """
    interval = binomtest(successes, n).proportion_ci(confidence, method="wilson")
    return float(interval.low), float(interval.high)
