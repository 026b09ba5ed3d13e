"""build-curriculum: Eq. 10 over two entropy tables, and the active set drawn by it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from wmss_cli.core.artifact import Job, open_draft
from wmss_cli.core.config import CurriculumConfig
from wmss_cli.core.errors import ConfigError, IntegrityError
from wmss_cli.core.manifest import Manifest, read_manifest
from wmss_cli.core.schema import ACTIVE, CURRICULUM, ENTROPY, read_parquet, write_parquet
from wmss_cli.score.curriculum import draw, weigh


def run(job: Job) -> Manifest:
    """Weigh all samples and draw the active set.

    Inputs: ``weak`` and ``strong`` (score-entropy artifacts of the two models). Writes
    ``curriculum.parquet`` and ``active.parquet``.

    Raises
    ------
    ConfigError
        If the models were scored in different precisions.
    IntegrityError
        If the two tables contain different samples.
    """
    config = CurriculumConfig.model_validate(job.config)
    weak = read_parquet(Path(job.inputs["weak"]) / "entropy.parquet", ENTROPY)
    strong = read_parquet(Path(job.inputs["strong"]) / "entropy.parquet", ENTROPY)
    _check_same_dtype(job)
    ids = weak["example_id"].to_pylist()
    with open_draft(job) as draft:
        entropy_weak = np.asarray(weak["entropy"])
        entropy_strong = _in_order_of(ids, strong, job)
        weights = weigh(entropy_weak, entropy_strong, config)
        counts = draw(weights.probability, config)
        write_parquet(
            draft.folder / "curriculum.parquet",
            (
                {
                    "example_id": example_id,
                    "entropy_weak": before,
                    "entropy_strong": after,
                    "probability": probability,
                }
                for example_id, before, after, probability in zip(
                    ids, entropy_weak, entropy_strong, weights.probability, strict=True
                )
            ),
            CURRICULUM,
        )
        drawn = np.flatnonzero(counts)
        write_parquet(
            draft.folder / "active.parquet",
            ({"example_id": ids[row], "count": int(counts[row])} for row in drawn),
            ACTIVE,
        )
        return draft.commit(
            {
                "samples": len(ids),
                "active_samples": int(counts.sum()),
                "unique_samples": len(drawn),
                "effective_sample_size": round(weights.effective_sample_size, 2),
                "share_alpha": weights.shares["alpha"],
                "share_beta": weights.shares["beta"],
                "share_gamma": weights.shares["gamma"],
                "mean_entropy_weak_nats": float(entropy_weak.mean()),
                "mean_entropy_strong_nats": float(entropy_strong.mean()),
            }
        )


def _check_same_dtype(job: Job) -> None:
    """Refuse entropies in two precisions: their difference would be counted as learning."""
    dtypes = {role: read_manifest(Path(job.inputs[role])).metrics["dtype"] for role in job.inputs}
    if len(set(dtypes.values())) > 1:
        raise ConfigError(
            f"the weak model was scored in {dtypes['weak']}, the strong one in {dtypes['strong']}; "
            "set score_entropy.precision and score one of them again"
        )


def _in_order_of(ids: list[str], strong: pa.Table, job: Job) -> NDArray[np.float64]:
    values = dict(zip(strong["example_id"].to_pylist(), strong["entropy"].to_pylist(), strict=True))
    if len(values) != len(strong) or values.keys() != set(ids) or len(set(ids)) != len(ids):
        raise IntegrityError(
            f"{job.inputs['weak']} and {job.inputs['strong']} contain different samples; "
            "score both models on the same token table"
        )
    return np.array([values[example_id] for example_id in ids])
