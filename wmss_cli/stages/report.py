"""report: what a pipeline found, as one JSON file and a picture of the training curves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from wmss_cli.analyze.logits import crossing_lambda
from wmss_cli.core.artifact import Job, open_draft
from wmss_cli.core.files import read_json_lines, write_json
from wmss_cli.core.manifest import Manifest, read_manifest
from wmss_cli.results.plots import plot_training

RESULTS_FILE = "results.json"
CURVES_FILE = "curves.png"


def run(job: Job) -> Manifest:
    """Collect the results of all stages.

    Inputs: ``train-NAME``, ``eval-NAME``, ``stage-NAME`` (any other stage) and
    ``analyze-NAME`` (of a model).
    Writes ``results.json`` and ``curves.png``.
    """
    manifests = {role: read_manifest(Path(path)) for role, path in job.inputs.items()}
    with open_draft(job) as draft:
        curves = {
            role.removeprefix("train-"): read_json_lines(Path(path) / "metrics.jsonl")
            for role, path in job.inputs.items()
            if role.startswith("train-")
        }
        plot_training(curves, draft.folder / CURVES_FILE)
        results = {
            "methods": {
                role.removeprefix("eval-"): manifest.metrics
                for role, manifest in manifests.items()
                if role.startswith("eval-")
            },
            "logits": _logits(
                {
                    role.removeprefix("analyze-"): manifest.metrics["statistics"]
                    for role, manifest in manifests.items()
                    if role.startswith("analyze-")
                }
            ),
            "stages": {
                role: _stage(manifest, job.inputs[role]) for role, manifest in manifests.items()
            },
        }
        write_json(draft.folder / RESULTS_FILE, results)
        return draft.commit({"methods": sorted(results["methods"])})


def _logits(statistics: dict[str, dict[str, float]]) -> dict[str, Any]:
    return {
        "statistics": statistics,
        "lambda_cross": crossing_lambda(
            statistics["before-strong"]["centred_norm"], statistics["before-weak"]["centred_norm"]
        ),
    }


def _stage(manifest: Manifest, path: str) -> dict[str, Any]:
    return {
        "stage": manifest.stage,
        "seconds": manifest.work_seconds,
        "tokens_per_s": manifest.metrics.get("tokens_per_s"),
        "artifact": path,
    }
