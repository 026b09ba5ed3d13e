"""Evaluations that are there: what a model was asked, what it wrote, and how it was made."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wmss_cli.core.errors import ConfigError
from wmss_cli.core.manifest import MANIFEST, Manifest, read_manifest
from wmss_cli.core.schema import GENERATION, read_parquet

Row = dict[str, Any]

_EPOCH = re.compile(r"(?P<arm>.+)@(?P<epoch>\d+(?:\.\d+)?)")


@dataclass(frozen=True)
class Evaluation:
    """One model on some tasks.

    Attributes
    ----------
    name : str
        Of the method.
    folder : Path
        Written by eval or grade.
    manifest : Manifest
        Of that artifact.
    """

    name: str
    folder: Path
    manifest: Manifest

    @property
    def arm(self) -> str:
        """Return the name without its epoch."""
        found = _EPOCH.fullmatch(self.name)
        return found["arm"] if found else self.name

    @property
    def epoch(self) -> float | None:
        """Return the epochs of training: from the name, else from the training; None if unknown."""
        found = _EPOCH.fullmatch(self.name)
        if found:
            return float(found["epoch"])
        training = self._training()
        return None if training is None else training.config.get("epochs")

    @property
    def seed(self) -> int | None:
        """Return the seed of the training; None if unknown, or if nothing was trained."""
        training = self._training()
        return None if training is None else training.config.get("seed")

    def wrong_answers(self, most: int) -> list[Row]:
        """Return the first wrong answers to each task, at most so many."""
        rows = read_parquet(self.folder / "generations.parquet", GENERATION).to_pylist()
        shown: list[Row] = []
        counts: dict[str, int] = {}
        for row in rows:
            if not row["correct"] and counts.get(row["task"], 0) < most:
                counts[row["task"]] = counts.get(row["task"], 0) + 1
                shown.append(row)
        return shown

    def options(self) -> dict[str, Any]:
        """Return how it was evaluated and how the model was trained, by dotted keys."""
        found = dict(_flat("eval", self._answered().config))
        training = self._training()
        if training is not None:
            found |= {"training": training.stage, **dict(_flat("train", training.config))}
        return found

    def _answered(self) -> Manifest:
        """Return the manifest of what generated the answers; its own where that is gone."""
        found = self.manifest
        while found.stage == "grade":
            folder = Path(found.inputs["answers"].path)
            if not (folder / MANIFEST).is_file():
                break
            found = read_manifest(folder)
        return found

    def _training(self) -> Manifest | None:
        model = self._answered().inputs.get("model")
        if model is None:
            return None
        # A trained model is a folder inside the artifact of its training.
        trained = Path(model.path).parent
        return read_manifest(trained) if (trained / MANIFEST).is_file() else None


def by_epoch(found: Sequence[Evaluation]) -> dict[str, dict[float, Evaluation]]:
    """Return the evaluations of methods of which several epochs are there (Fig. 3 of the paper).

    Returns
    -------
    dict
        By method and epoch. Evaluations named ``METHOD@EPOCH`` are epochs of METHOD; one named
        METHOD alone is at the end of its training.
    """
    arms = {one.arm for one in found if one.arm != one.name}
    curves: dict[str, dict[float, Evaluation]] = {arm: {} for arm in sorted(arms)}
    for one in found:
        if one.arm in arms and one.epoch is not None:
            curves[one.arm][one.epoch] = one
    return {arm: dict(sorted(epochs.items())) for arm, epochs in curves.items() if len(epochs) > 1}


def last_epochs(found: Sequence[Evaluation]) -> list[Evaluation]:
    """Return the evaluations without earlier epochs of a method that is there itself."""
    names = {one.name for one in found}
    return [one for one in found if one.arm == one.name or one.arm not in names]


def open_evaluations(references: Sequence[str]) -> list[Evaluation]:
    """Find evaluations.

    Parameters
    ----------
    references : sequence of str
        ``NAME=FOLDER`` or ``FOLDER``: written by eval or grade, or the folder of a run, which
        stands for all the evaluations of its report.

    Raises
    ------
    ConfigError
        If there is none, or two have the same name.
    """
    found: list[Evaluation] = []
    for reference in references:
        # A path may hold an equals sign, too.
        name, equals, path = ("", "", reference)
        if not Path(reference).exists():
            name, equals, path = reference.partition("=")
            if not equals or not name:
                raise ConfigError(f"{reference}: no such folder; give FOLDER, or NAME=FOLDER")
        folder = Path(path)
        if (folder / MANIFEST).is_file():
            found.append(open_evaluation(folder, name if equals else ""))
        else:
            prefix = f"{name}/" if equals else ""
            found += [open_evaluation(at, f"{prefix}{method}") for method, at in _of_run(folder)]
    names = [evaluation.name for evaluation in found]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"two evaluations are named {name}; name them: NAME=FOLDER")
    return found


def paired_by_seed(
    first: Sequence[Evaluation], second: Sequence[Evaluation]
) -> tuple[list[Evaluation], list[Evaluation]]:
    """Return the evaluations of two arms with the seeds in the same order.

    Where all trainings are there, their manifests say which seeds belong together; else the
    order does. A single evaluation belongs to all of the other side where nothing was trained.

    Raises
    ------
    ConfigError
        If a side has a seed twice, or one that the other side has not.
    """
    sides = [list(first), list(second)]
    seeds = [[one.seed for one in side] for side in sides]
    for side, own in zip(sides, seeds, strict=True):
        for at, seed in enumerate(own):
            if seed is not None and seed in own[:at]:
                earlier = side[own.index(seed)].folder
                raise ConfigError(
                    f"{earlier} and {side[at].folder}: both are of seed {seed}; give each seed once"
                )
    for side, own, others in zip(sides, seeds, sides[::-1], strict=True):
        if len(side) == 1 < len(others) and own[0] is not None:
            raise ConfigError(
                f"{side[0].folder}: one training, of seed {own[0]}, against {len(others)} of the "
                "other side; give the same seeds of both"
            )
    if any(seed is None for own in seeds for seed in own):
        return sides[0], sides[1]
    if set(seeds[0]) != set(seeds[1]):
        texts = [", ".join(str(seed) for seed in own) for own in seeds]
        raise ConfigError(
            f"seeds {texts[0]} on one side and {texts[1]} on the other; they are paired by seed, "
            "so give the same of both"
        )
    order = [seeds[1].index(seed) for seed in seeds[0]]
    return sides[0], [sides[1][place] for place in order]


def differences(options: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, str]]:
    """Return the options in which methods differ.

    Parameters
    ----------
    options : mapping
        By method and key.

    Returns
    -------
    dict
        By key and method; a dash where a method has no such option.
    """
    keys = dict.fromkeys(key for found in options.values() for key in found)
    shown = {
        key: {method: str(found.get(key, "-")) for method, found in options.items()} for key in keys
    }
    return {key: values for key, values in shown.items() if len(set(values.values())) > 1}


def open_evaluation(folder: Path, name: str = "") -> Evaluation:
    """Open what eval or grade wrote, named after its folder unless a name is given.

    Raises
    ------
    ConfigError
        If it is something else, or unfinished.
    """
    manifest = read_manifest(folder)
    if manifest.stage not in ("eval", "grade"):
        raise ConfigError(f"{folder}: written by {manifest.stage}, not by eval or grade")
    return Evaluation(name or folder.name, folder, manifest)


def _of_run(folder: Path) -> Iterator[tuple[str, Path]]:
    reports = sorted(folder.glob("report-*/results.json"), key=lambda path: path.stat().st_mtime)
    if not reports:
        raise ConfigError(
            f"{folder}: neither an evaluation nor a run with a report; give NAME=FOLDER of "
            "what 'wmss eval' wrote"
        )
    results = json.loads(reports[-1].read_text(encoding="utf-8"))
    for role, stage in results["stages"].items():
        if role.startswith("eval-"):
            yield role.removeprefix("eval-"), Path(stage["artifact"])


def _flat(prefix: str, value: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, inner in value.items():
        yield f"{prefix}.{key}", inner
