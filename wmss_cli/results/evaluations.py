"""Existing evaluations: how their models were made, which belong together, and a study of them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from wmss_cli.core.errors import ConfigError
from wmss_cli.core.manifest import MANIFEST, Manifest, read_manifest
from wmss_cli.results.study import STUDY_FILE, Study, StudyArm, StudyRun

_EPOCH = re.compile(r"(?P<arm>.+)@(?P<epoch>\d+(?:\.\d+)?)")


@dataclass(frozen=True)
class Evaluation:
    """The evaluation of one model on some tasks.

    Attributes
    ----------
    name : str
        The name of the arm.
    folder : Path
        The folder that eval or grade wrote.
    manifest : Manifest
        The manifest of that artifact.
    """

    name: str
    folder: Path
    manifest: Manifest

    @property
    def seed(self) -> int | None:
        """Return the seed of the training; None if unknown, or if nothing was trained.

        A model without a seed of its own, such as an extrapolation of weights, has the seed of the
        training before it.
        """
        folder = self.training
        while folder is not None and (folder / MANIFEST).is_file():
            made = read_manifest(folder)
            if "seed" in made.config:
                return int(made.config["seed"])
            strong = made.inputs.get("strong")
            folder = None if strong is None else Path(strong.path).parent
        return None

    @property
    def training(self) -> Path | None:
        """Return the artifact of the model's training; None if it is gone, or there was none."""
        model = self._answered().inputs.get("model")
        # A trained model is a folder inside its training's artifact.
        folder = None if model is None else Path(model.path).parent
        return folder if folder is not None and (folder / MANIFEST).is_file() else None

    def _answered(self) -> Manifest:
        """Return the manifest of what generated the answers; its own manifest if that is gone."""
        found = self.manifest
        while found.stage == "grade":
            folder = Path(found.inputs["answers"].path)
            if not (folder / MANIFEST).is_file():
                break
            found = read_manifest(folder)
        return found


def open_evaluation(folder: Path) -> Evaluation:
    """Open what eval or grade wrote; its name is that of its folder.

    Raises
    ------
    ConfigError
        If it is something else, or unfinished.
    """
    manifest = read_manifest(folder)
    if manifest.stage not in ("eval", "grade"):
        raise ConfigError(f"{folder}: written by {manifest.stage}, not by eval or grade")
    return Evaluation(folder.name, folder, manifest)


def paired_by_seed(
    first: Sequence[Evaluation], second: Sequence[Evaluation]
) -> tuple[list[Evaluation], list[Evaluation]]:
    """Return the evaluations of two arms with the seeds in the same order.

    If all trainings exist, their manifests say which seeds belong together; otherwise the order
    does. A single evaluation of an untrained model is compared with all of the other side.

    Raises
    ------
    ConfigError
        If a side has a seed twice, or one that the other side lacks.
    """
    sides = [list(first), list(second)]
    for side in sides:
        folders = [one.folder.resolve() for one in side]
        twice = next((folder for folder in folders if folders.count(folder) > 1), None)
        if twice is not None:
            raise ConfigError(f"{twice}: named twice; name each evaluation once")
    seeds = [[one.seed for one in side] for side in sides]
    for side, own in zip(sides, seeds, strict=True):
        for at, seed in enumerate(own):
            if seed is not None and seed in own[:at]:
                earlier = side[own.index(seed)].folder
                raise ConfigError(
                    f"{earlier} and {side[at].folder}: both have seed {seed}; give each seed once"
                )
    for side, own, others in zip(sides, seeds, sides[::-1], strict=True):
        if len(side) == 1 < len(others) and own[0] is not None:
            raise ConfigError(
                f"{side[0].folder}: one training, with seed {own[0]}, against {len(others)} on the "
                "other side; give the same seeds on both sides"
            )
    if any(seed is None for own in seeds for seed in own):
        return sides[0], sides[1]
    if set(seeds[0]) != set(seeds[1]):
        texts = [", ".join(str(seed) for seed in own) for own in seeds]
        raise ConfigError(
            f"seeds {texts[0]} on one side and {texts[1]} on the other; they are paired by seed, "
            "so give the same seeds on both sides"
        )
    order = [seeds[1].index(seed) for seed in seeds[0]]
    return sides[0], [sides[1][place] for place in order]


def gather(references: Sequence[str]) -> tuple[Study, dict[str, str]]:
    """Make a study from evaluations.

    Parameters
    ----------
    references : sequence of str
        ``NAME=FOLDER``, ``NAME=FOLDER,FOLDER,…`` for several seeds of an arm (or the name again),
        or ``FOLDER``: written by eval or grade, or the folder of a run, which stands for all of
        its finished evaluations. ``NAME@EPOCH`` is an earlier epoch of NAME, if NAME is given too.

    Returns
    -------
    study : Study
        The others are compared with its first arm. Its seeds are those that the trainings
        recorded, if all did; otherwise the order of the references says which belong together. A
        model that was not trained has none.
    artifacts : dict of str to str
        The paths of the artifacts by label; the label is the path itself.

    Raises
    ------
    ConfigError
        If a folder is not an evaluation, or is named twice.
    """
    folders: dict[str, list[Path]] = {}
    for reference in references:
        for name, folder in _named(reference):
            folders.setdefault(name, []).append(folder)
    if not folders:
        raise ConfigError(
            f"{', '.join(references)}: nothing has been evaluated yet; 'wmss report RUN_DIR' shows "
            "what is missing"
        )
    every = [folder for own in folders.values() for folder in own]
    for folder in every:
        if every.count(folder) > 1:
            raise ConfigError(f"{folder}: named twice; name each evaluation once")
    trails = {folder: _trail(open_evaluation(folder)) for folder in every}
    epochs: dict[str, dict[str, list[Path]]] = {}
    for name in list(folders):
        found = _EPOCH.fullmatch(name)
        if found and found["arm"] in folders:
            epochs.setdefault(found["arm"], {})[found["epoch"]] = folders.pop(name)
    arms = [_arm(name, trails[own[0]]) for name, own in folders.items()]
    seeds = _seeds({name: [trails[folder] for folder in own] for name, own in folders.items()})
    runs = [
        _run(name, seed, folder, trails[folder], _at(place, epochs.get(name, {})))
        for name, own in folders.items()
        for place, (seed, folder) in enumerate(zip(seeds[name], own, strict=True))
    ]
    several = max(len(own) for own in folders.values()) > 1
    every_seed = sorted({seed for own in seeds.values() for seed in own if seed is not None})
    study = Study(
        models={"": ""},
        arms=arms,
        seeds=every_seed if several else [],
        compare_with=arms[0].name if len(arms) > 1 else None,
        tables=["methods", "epochs"],
        runs=runs,
    )
    return study, {label: label for label in study.labels()}


@dataclass
class _Trail:
    """How a model was made, as far as the folders still exist."""

    trainings: list[str] = field(default_factory=list)
    stages: list[str] = field(default_factory=list)
    curriculum: str | None = None
    seed: int | None = None


def _named(reference: str) -> Iterator[tuple[str, Path]]:
    # A path may contain an equals sign or a comma, too.
    name, equals, path = ("", "", reference)
    if not Path(reference).exists():
        name, equals, path = reference.partition("=")
        if not equals or not name:
            raise ConfigError(f"{reference}: no such folder; give FOLDER, or NAME=FOLDER")
    for part in [path] if Path(path).exists() else path.split(","):
        folder = Path(part)
        if (folder / MANIFEST).is_file():
            yield (name if equals else folder.name), folder
        else:
            for arm, evaluation in _of_run(folder):
                yield (f"{name}/{arm}" if equals else arm), evaluation


def _of_run(folder: Path) -> Iterator[tuple[str, Path]]:
    """Yield the finished evaluations of a run by arm, with seeds in order."""
    record = folder / STUDY_FILE
    if not record.is_file():
        raise ConfigError(
            f"{folder}: neither an evaluation nor a run (no {STUDY_FILE}); give NAME=FOLDER of "
            "what 'wmss eval' wrote"
        )
    content = json.loads(record.read_text(encoding="utf-8"))
    for run in Study.model_validate(content["study"]).runs:
        path = Path(content["artifacts"][run.evaluation])
        if (path / MANIFEST).is_file():
            yield (f"{run.model}/{run.arm}" if run.model else run.arm), path


def _trail(evaluation: Evaluation) -> _Trail:
    """Follow the manifests from the evaluated model to the trainings that made it."""
    trail = _Trail(seed=evaluation.seed)
    at = evaluation.training
    while at is not None and (at / MANIFEST).is_file():
        training = read_manifest(at)
        trail.trainings.insert(0, str(at))
        trail.stages.insert(0, training.stage)
        active = training.inputs.get("active")
        if trail.curriculum is None and active is not None and Path(active.path).is_dir():
            trail.curriculum = active.path
        strong = training.inputs.get("strong")
        at = None if strong is None else Path(strong.path).parent
    return trail


def _arm(name: str, trail: _Trail) -> StudyArm:
    return StudyArm(
        name=name,
        start="-",
        samples="active" if trail.curriculum else "all" if trail.trainings else "-",
        objective=" then ".join(trail.stages) or "-",
        purpose="-",
    )


def _seeds(trails: Mapping[str, Sequence[_Trail]]) -> dict[str, list[int | None]]:
    """Return the seeds of each arm's evaluations, for pairing."""
    known = {name: [trail.seed for trail in own] for name, own in trails.items()}
    loose = [name for name, own in trails.items() if len(own) == 1 and not own[0].trainings]
    trained = [own for name, own in known.items() if name not in loose]
    told = all(None not in own and len(set(own)) == len(own) for own in trained)
    if told and any(len(own) > 1 for own in trained):
        return {name: [None] if name in loose else own for name, own in known.items()}
    return {name: [None] if name in loose else list(range(len(own))) for name, own in known.items()}


def _at(place: int, epochs: Mapping[str, Sequence[Path]]) -> dict[str, str]:
    """Return the earlier evaluations of one seed, by epoch."""
    return {
        epoch: str(folders[place])
        for epoch, folders in sorted(epochs.items(), key=lambda item: float(item[0]))
        if place < len(folders)
    }


def _run(
    name: str, seed: int | None, folder: Path, trail: _Trail, earlier: dict[str, str]
) -> StudyRun:
    return StudyRun(
        model="",
        arm=name,
        seed=seed,
        trainings=trail.trainings,
        evaluation=str(folder),
        earlier=earlier,
        curriculum=trail.curriculum,
    )
