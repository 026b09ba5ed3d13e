"""extrapolate: theta_1 + factor * (theta_1 - theta_0), without training (ExPO)."""

from __future__ import annotations

from pathlib import Path

from wmss_cli.core.artifact import Job, open_draft
from wmss_cli.core.config import ExtrapolateConfig
from wmss_cli.core.manifest import Manifest
from wmss_cli.core.progress import ProgressWriter
from wmss_cli.models.card import write_card
from wmss_cli.models.extrapolation import extrapolate
from wmss_cli.models.matching import check_stored
from wmss_cli.stages.model_checks import check_job


def run(job: Job) -> Manifest:
    """Write the model beyond the strong one, on the line from the base model.

    Inputs: ``base`` (theta_0) and ``strong`` (theta_1), folders of models. Writes ``model/``.
    """
    config = ExtrapolateConfig.model_validate(job.config)
    base, strong = Path(job.inputs["base"]), Path(job.inputs["strong"])
    check_job(job)
    # The files are only compared with each other; weights that no config.json describes would pass.
    check_stored(strong)
    with open_draft(job) as draft:
        progress: list[ProgressWriter] = []

        def watch(done: int, total: int) -> None:
            if not progress:
                progress.append(ProgressWriter(draft.folder, "tensors", total))
            progress[0].update(done)

        made = extrapolate(base, strong, config.factor, draft.folder / "model", watch)
        metrics = {
            "factor": config.factor,
            "parameters": made.parameters,
            "dtype": ", ".join(made.dtypes),
            "relative_distance": made.relative_distance,
        }
        write_card(draft.folder / "model", job, metrics)
        return draft.commit(metrics)
