"""The artifacts of a study on the disk now: finished, unfinished, or missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from wmss_cli.core.artifact import partial
from wmss_cli.core.manifest import MANIFEST, Manifest, read_manifest
from wmss_cli.core.progress import read_progress
from wmss_cli.results.findings import Cost, Missing
from wmss_cli.results.study import Study, StudyRun


@dataclass
class Sources:
    """Where each step of a study left its result.

    Attributes
    ----------
    study : Study
        The study as it was planned.
    paths : mapping of str to Path
        The paths of artifacts by label, finished or not.
    failures : mapping of str to str
        The error of a step's last attempt if that failed and is known, by label.
    """

    study: Study
    paths: Mapping[str, Path]
    failures: Mapping[str, str] = field(default_factory=dict)
    _manifests: dict[str, Manifest | None] = field(default_factory=dict, init=False)

    def manifest(self, label: str | None) -> Manifest | None:
        """Return the manifest of a step's result; None if it is unfinished."""
        if label is None or label not in self.paths:
            return None
        if label not in self._manifests:
            path = self.paths[label]
            there = (path / MANIFEST).is_file()
            self._manifests[label] = read_manifest(path) if there else None
        return self._manifests[label]

    def file(self, label: str | None, name: str) -> Path | None:
        """Return a file of a finished result; None if there is none."""
        if label is None or self.manifest(label) is None:
            return None
        path = self.paths[label] / name
        return path if path.is_file() else None

    def files(self, labels: Sequence[str], name: str) -> list[Path]:
        """Return that file of each result that has one, without duplicates."""
        found = (self.file(label, name) for label in dict.fromkeys(labels))
        return [path for path in found if path is not None]

    def finished(self, labels: Sequence[str | None]) -> list[str]:
        """Return the labels that have a finished result, without duplicates."""
        return list(dict.fromkeys(x for x in labels if x is not None and self.manifest(x)))

    def missing(self) -> list[Missing]:
        """Return the steps without a result, and what is known about them."""
        return [
            self._missing(label) for label in self.study.labels() if self.manifest(label) is None
        ]

    def versions(self) -> dict[str, list[str]]:
        """Return the versions and commits that made the results; several if they differ."""
        found: dict[str, dict[str, None]] = {}
        for label in self.study.labels():
            manifest = self.manifest(label)
            if manifest is not None:
                versions = {**manifest.versions, "commit": manifest.commit or "unknown"}
                for name, version in versions.items():
                    found.setdefault(name, {})[version] = None
        return {name: list(versions) for name, versions in found.items()}

    def _missing(self, label: str) -> Missing:
        arms = [run.arm for run in self.study.runs if label in labels_of(run)]
        shared = label in self.study.shared.values()
        arms = [] if shared else list(dict.fromkeys(arms))
        path = self.paths.get(label)
        if label in self.failures:
            return Missing(label=label, state="failed", detail=self.failures[label], arms=arms)
        if path is None:
            return Missing(label=label, state="not begun", detail="", arms=arms)
        work = partial(path)
        if work.is_dir():
            return Missing(label=label, state="unfinished", detail=_progress(work), arms=arms)
        if path.with_name(f"{path.name}.shards").is_dir():
            return Missing(label=label, state="unfinished", detail="shards", arms=arms)
        return Missing(label=label, state="not begun", detail="", arms=arms)


def labels_of(run: StudyRun) -> list[str]:
    """Return the labels of all steps that a run depends on."""
    optional = (run.logits, run.weak_logits, run.curriculum)
    found = [*run.trainings, run.evaluation, *run.earlier.values()]
    return found + [label for label in optional if label is not None]


def cost_of(trainings: Sequence[Sequence[Manifest]]) -> Cost | None:
    """Return what an arm costs: the mean over its seeds, each with its trainings in order.

    Steps that train nothing, such as an extrapolation of weights, cost nothing.
    """
    seeds = [
        [manifest.metrics for manifest in own if "train_seconds" in manifest.metrics]
        for own in trainings
    ]
    if not any(seeds):
        return None
    flops = [[row.get("flops") for row in own] for own in seeds]
    known = all(one is not None for own in flops for one in own)
    devices = sorted({row.get("device", "unknown") for own in seeds for row in own})

    def mean(values: Sequence[float]) -> float:
        return sum(values) / len(values)

    return Cost(
        steps=mean([sum(row["steps"] for row in own) for own in seeds]),
        tokens=mean([sum(row["tokens"] for row in own) for own in seeds]),
        flops=mean([sum(one or 0.0 for one in own) for own in flops]) if known else None,
        device_hours=mean([sum(_seconds(row) for row in own) / 3600 for own in seeds]),
        device=", ".join(devices),
    )


def _seconds(metrics: Mapping[str, Any]) -> float:
    return float(metrics["train_seconds"]) * int(metrics.get("world_size", 1))


def _progress(folder: Path) -> str:
    progress = read_progress(folder)
    if progress is None:
        return ""
    of = "" if progress.total is None else f" of {progress.total:,}"
    when = datetime.fromtimestamp(progress.updated, UTC).strftime("%Y-%m-%d %H:%M UTC")
    return f"{progress.done:,}{of} {progress.unit}, last written {when}"
