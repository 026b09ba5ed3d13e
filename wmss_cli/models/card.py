"""The model card, ``README.md`` in a model's folder, in the form of the Hugging Face hub.

It is part of the artifact, so equal work gives equal bytes: it contains no time, no absolute path,
and nothing that depends on how the work was divided.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml

from wmss_cli.core import files
from wmss_cli.core.artifact import Job
from wmss_cli.core.config import CurateConfig
from wmss_cli.core.errors import ConfigError, IntegrityError
from wmss_cli.core.manifest import Manifest, read_manifest

CARD = "README.md"
_LICENSE = "# license:   # to be filled in by you: the base model's and the data's terms bind it\n"
_PACKAGES = ("wmss", "torch", "transformers", "deepspeed")
_METHODS = {
    "sft": "Supervised fine-tuning on the completion tokens only.",
    "joint_train": (
        "Weak-driven learning (WMSS): the strong model is trained against logits that are mixed "
        "with those of a weak model, z_mix = λ z_strong + (1 - λ) z_weak."
    ),
    "extrapolate": (
        "Weight extrapolation (ExPO, Zheng et al. 2024), without training: "
        "θ = θ_1 + factor (θ_1 - θ_0)."
    ),
}
_DIGITS = 4


def training_so_far(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return what a card says about a training, from the rows of its ``metrics.jsonl``."""
    return {
        "steps": len(rows),
        "tokens": sum(row["tokens"] for row in rows),
        "completion tokens": sum(row["completion_tokens"] for row in rows),
        "first loss (nats per token)": rows[0]["loss"],
        "last loss (nats per token)": rows[-1]["loss"],
        "last loss of the strong model": rows[-1]["strong_loss"],
    }


def write_card(folder: Path, job: Job, metrics: Mapping[str, Any]) -> None:
    """Write the card of a model that a stage exports.

    Parameters
    ----------
    folder : Path
        The folder of the model. Its name says what the model is: ``model``, ``weak``, ``epoch-N``.
    job : Job
        The job that makes the model. The data are described from its inputs' manifests.
    metrics : mapping
        What is known so far, in the words of the card.
    """
    starts = "weak" if folder.name == "weak" else "strong"
    base = _base(Path(job.inputs[starts]))
    curated = _curated(job)
    data = sorted(_file_names(curated)) if curated is not None else []
    front: dict[str, Any] = {
        "base_model": base,
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["wmss", job.stage.replace("_", "-")],
    }
    if data:
        front["datasets"] = data
    parts = [
        f"---\n{_LICENSE}{yaml.safe_dump(front, sort_keys=False, allow_unicode=True)}---",
        f"# {base}, {_WHAT.get(folder.name, folder.name)} of {job.stage.replace('_', '-')}",
        f"Base model: `{base}`.",
        "## Data",
        *_data(curated, data),
        "## Method",
        _METHODS.get(job.stage, job.stage),
        _block("yaml", yaml.safe_dump({_section(job): job.identity}, allow_unicode=True)),
        "## Metrics",
        "Known when the model was written; evaluations are in the report of the run.",
        _table(metrics),
        "## Versions",
        _table({name: metadata.version(name) for name in _PACKAGES}),
        "## To make it again",
        *_command(job, base),
    ]
    files.write_text(folder / CARD, "\n\n".join(parts) + "\n")


_WHAT = {"model": "the model", "weak": "the weak model"}


def _section(job: Job) -> str:
    return "joint" if job.stage == "joint_train" else job.stage


def _owner(path: Path) -> Manifest | None:
    """Return the manifest of the artifact that a path belongs to."""
    for folder in (path, path.parent):
        try:
            return read_manifest(folder)
        except (ConfigError, IntegrityError):
            # Not an artifact; other tools write a manifest.json, too.
            continue
    return None


def _base(path: Path) -> str:
    """Follow a model back to the one that no stage made, and return its name."""
    made = _owner(path)
    if made is not None and "strong" in made.inputs:
        start = "weak" if path.name == "weak" and "weak" in made.inputs else "strong"
        return _base(Path(made.inputs[start].path))
    # A snapshot from the hub: models--OWNER--NAME/snapshots/REVISION.
    for folder in path.parents:
        if folder.name.startswith("models--"):
            return folder.name.removeprefix("models--").replace("--", "/")
    return path.parent.name if path.name == "model" else path.name


def _curated(job: Job) -> Manifest | None:
    """Return the manifest of the curation behind a job's samples, if it can be found."""
    for role in ("tokens", "strong"):
        made = _owner(Path(job.inputs[role])) if role in job.inputs else None
        while made is not None and made.stage != "curate":
            source = next(
                (made.inputs[r] for r in ("examples", "tokens") if r in made.inputs), None
            )
            made = _owner(Path(source.path)) if source is not None else None
        if made is not None:
            return made
    return None


def _file_names(curated: Manifest) -> set[str]:
    return {Path(ref.path).name for role, ref in curated.inputs.items() if role.startswith("data-")}


def _data(curated: Manifest | None, names: Sequence[str]) -> list[str]:
    if curated is None:
        return ["The samples were not curated by wmss, or their curation is not there any more."]
    counts = curated.metrics
    lost = {f"rejected: {reason}": count for reason, count in counts["rejected"].items()}
    return [
        f"{', '.join(f'`{name}`' for name in names)}: {counts['kept']:,} of "
        f"{counts['records']:,} records kept by curation.",
        _table({"records": counts["records"], "kept": counts["kept"], **lost}),
        _block("yaml", yaml.safe_dump({"curate": _identity(curated)}, allow_unicode=True)),
    ]


def _identity(curated: Manifest) -> dict[str, Any]:
    """Return the options of a curation that determine its result."""
    identity = CurateConfig.model_validate(curated.config).identity()
    return {name: value for name, value in identity.items() if name in CurateConfig.model_fields}


def _command(job: Job, base: str) -> list[str]:
    if job.stage == "extrapolate":
        return ["It is the arm `extrapolated` of `wmss run`, with the options above."]
    if "matched" in job.inputs or "reference" in job.inputs:
        return ["It is an arm of a study of `wmss run`, with the options above."]
    start = _owner(Path(job.inputs["strong"]))
    before = "" if start is None else f" STRONG is the output of `{_command_of(start.stage)}`."
    strong = base if start is None else "STRONG"
    if job.stage == "sft":
        models = ["--model", strong]
    else:
        models = ["--strong", "STRONG"]
        if "weak" in job.inputs:
            models = ["--weak", "WEAK", *models]
    active = ["--active", "CURRICULUM"] if "active" in job.inputs else []
    words = [*_command_of(job.stage).split(), *models, "--tokens", "TOKENS", *active]
    command = shlex.join([*words, "--config", "options.yaml", "--out", "OUT"])
    return [
        f"With the options above as `options.yaml`.{before}",
        _block("console", f"$ {command}\n"),
    ]


def _command_of(stage: str) -> str:
    return f"wmss {stage.replace('_', '-')}"


def _block(language: str, text: str) -> str:
    return f"```{language}\n{text}```"


def _table(values: Mapping[str, Any]) -> str:
    rows = [f"| {name} | {_number(value)} |" for name, value in values.items()]
    return "\n".join(["| | |", "| --- | --- |", *rows])


def _number(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.{_DIGITS}g}"
    return f"{value:,}" if isinstance(value, int) else str(value)
