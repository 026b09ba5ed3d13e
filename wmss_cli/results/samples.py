"""What is known of the training samples: the curriculum's weights, and the loss by difficulty."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from wmss_cli.core.manifest import Manifest
from wmss_cli.core.schema import CURRICULUM, read_parquet
from wmss_cli.results.findings import Bin, Cloud, Curriculum

CURRICULUM_FILE = "curriculum.parquet"
LOSSES_FILE = "losses.parquet"

_QUINTILES = 5
_POINTS = 1500


def shares_of(manifests: Sequence[Manifest]) -> Curriculum | None:
    """Return the means over the curricula of an arm's seeds."""
    if not manifests:
        return None

    def mean(name: str) -> float:
        return float(np.mean([manifest.metrics[name] for manifest in manifests]))

    config = manifests[0].config
    return Curriculum(
        alpha=mean("share_alpha"),
        beta=mean("share_beta"),
        gamma=mean("share_gamma"),
        samples=round(mean("samples")),
        unique=mean("unique_samples"),
        effective=mean("effective_sample_size"),
        entropy_weak=mean("mean_entropy_weak_nats"),
        entropy_strong=mean("mean_entropy_strong_nats"),
        options={name: config[name] for name in ("alpha", "beta", "gamma") if name in config},
    )


def cloud_of(model: str, curriculum: Path) -> Cloud:
    """Return a fixed random sample of samples: H(weak), H(strong) and weight."""
    table = read_parquet(curriculum, CURRICULUM)
    n = len(table)
    rng = np.random.default_rng(0)
    chosen = np.sort(rng.choice(n, size=min(n, _POINTS), replace=False))
    weak, strong, probability = (
        table[name].to_numpy()[chosen] for name in ("entropy_weak", "entropy_strong", "probability")
    )
    return Cloud(
        model=model,
        weak=weak.round(4).tolist(),
        strong=strong.round(4).tolist(),
        weight=(probability * n).round(4).tolist(),
        samples=n,
    )


def loss_by_difficulty(losses: Path, curriculum: Path) -> tuple[list[Bin], list[Bin]]:
    """Return the loss by quintile of H(weak), and by the sign of H(strong) - H(weak).

    Parameters
    ----------
    losses : Path
        ``example_id`` and ``loss`` of some samples, in nats per completion token.
    curriculum : Path
        ``curriculum.parquet``, which has the entropies of all samples.
    """
    table = pq.read_table(losses, columns=["example_id", "loss"])
    entropies = read_parquet(curriculum, CURRICULUM)
    columns = [entropies[name].to_pylist() for name in ("entropy_weak", "entropy_strong")]
    place = {id_: row for row, id_ in enumerate(entropies["example_id"].to_pylist())}
    known = [
        (columns[0][place[id_]], columns[1][place[id_]], loss)
        for id_, loss in zip(
            table["example_id"].to_pylist(), table["loss"].to_pylist(), strict=True
        )
        if id_ in place
    ]
    if not known:
        return [], []
    weak, strong, loss = np.array(known, dtype=np.float64).T
    # By rank, so that equal entropies do not leave a quintile empty.
    rank = np.argsort(np.argsort(weak, kind="stable"), kind="stable")
    quintile = rank * _QUINTILES // len(rank)
    names = ("1 (easiest)", "2", "3", "4", "5 (hardest)")
    signs = {"entropy fell": strong < weak, "entropy rose": strong >= weak}
    return (
        _bins({name: quintile == i for i, name in enumerate(names)}, loss),
        _bins(signs, loss),
    )


def mean_bins(of_seeds: Sequence[Sequence[Bin]]) -> list[Bin]:
    """Combine the bins of several seeds: means of the loss over the seeds that have it."""
    by_name: dict[str, list[Bin]] = {}
    for bins in of_seeds:
        for one in bins:
            by_name.setdefault(one.name, []).append(one)
    return [
        Bin(name=name, samples=own[0].samples, loss=float(np.mean([one.loss for one in own])))
        for name, own in by_name.items()
    ]


def _bins(masks: Mapping[str, np.ndarray], loss: np.ndarray) -> list[Bin]:
    return [
        Bin(name=name, samples=int(mask.sum()), loss=float(loss[mask].mean()))
        for name, mask in masks.items()
        if mask.any()
    ]
