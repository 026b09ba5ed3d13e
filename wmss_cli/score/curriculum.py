"""Eq. 10: the probability of drawing a sample, given how its entropy changed; and the draw."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wmss_cli.core.config import CurriculumConfig
from wmss_cli.core.errors import DataError

Floats = NDArray[np.float64]

_DEALING = 1
# Combined with the seed: the generator that deals counts is not the one that drew them.


@dataclass(frozen=True)
class Weights:
    """The result of Eq. 10.

    Attributes
    ----------
    probability : ndarray
        ``[samples]``, sums to 1.
    shares : dict of str to float
        The shares of the terms ``alpha``, ``beta`` and ``gamma`` in the total; they sum to 1.
    """

    probability: Floats
    shares: dict[str, float]

    @property
    def effective_sample_size(self) -> float:
        """1 / sum p^2: how many equally likely samples would vary as much (Kish)."""
        return float(1.0 / np.square(self.probability).sum())


def weigh(entropy_weak: Floats, entropy_strong: Floats, config: CurriculumConfig) -> Weights:
    """Return p_i ∝ alpha·H_weak + beta·[-dH]+ + gamma·[dH]+, with dH = H_strong - H_weak.

    Parameters
    ----------
    entropy_weak, entropy_strong : ndarray
        ``[samples]``, in nats.
    config : CurriculumConfig
        With ``normalization: per_term`` each term is divided by its sum before it is weighted, as
        in the authors' code; a term that is zero for all samples then adds nothing.

    Raises
    ------
    DataError
        If all weights are zero, or an entropy is negative, NaN or infinite.
    """
    for name, values in (("weak", entropy_weak), ("strong", entropy_strong)):
        if not (np.isfinite(values).all() and (values >= 0).all()):
            raise DataError(
                f"an entropy of the {name} model is negative or not finite; score it again"
            )
    change = entropy_strong - entropy_weak
    terms = {
        "alpha": (config.alpha, entropy_weak),
        "beta": (config.beta, np.maximum(-change, 0.0)),
        "gamma": (config.gamma, np.maximum(change, 0.0)),
    }
    parts = {}
    for name, (weight, values) in terms.items():
        scale = values.sum() if config.normalization == "per_term" and values.any() else 1.0
        parts[name] = weight * values / scale
    weights = parts["alpha"] + parts["beta"] + parts["gamma"]
    total = weights.sum()
    if not total > 0:
        raise DataError(
            "all curriculum weights are zero: no entropy fell (beta) or rose (gamma) where that "
            "has a weight; raise curriculum.alpha above 0"
        )
    shares = {name: float(part.sum() / total) for name, part in parts.items()}
    return Weights(weights / total, shares)


def draw(probability: Floats, config: CurriculumConfig) -> NDArray[np.int64]:
    """Draw the active set (WeightedSample).

    Parameters
    ----------
    probability : ndarray
        ``[samples]``, sums to 1.
    config : CurriculumConfig
        `sampling`, `multiplier`, `seed` and `choice`. With ``random``, the counts of the weighted
        draw with the same seed are dealt to the samples in random order, whatever their weights.

    Returns
    -------
    ndarray of int
        ``[samples]``: how often each sample was drawn.

    Raises
    ------
    DataError
        If more samples are asked for than can be drawn without replacement.
    """
    counts = _weighted_draw(probability, config)
    if config.choice == "random":
        return np.random.default_rng([config.seed, _DEALING]).permutation(counts)
    return counts


def _weighted_draw(probability: Floats, config: CurriculumConfig) -> NDArray[np.int64]:
    """Return how often each sample is drawn, given the weights."""
    rng = np.random.default_rng(config.seed)
    size = max(1, round(config.multiplier * len(probability)))
    if config.sampling == "with_replacement":
        return rng.multinomial(size, probability).astype(np.int64)
    possible = int((probability > 0).sum())
    if size > possible:
        raise DataError(
            f"cannot draw {size} samples without replacement from {possible} with a weight above "
            "zero; lower curriculum.multiplier or sample with_replacement"
        )
    # Gumbel top-k: the same as drawing one after another with the remaining weights.
    with np.errstate(divide="ignore"):
        keys = np.log(probability) + rng.gumbel(size=len(probability))
    counts = np.zeros(len(probability), dtype=np.int64)
    counts[np.argsort(-keys, kind="stable")[:size]] = 1
    return counts
