"""Existing evaluations: how their models were made, and which belong together by seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from wmss_cli.core.errors import ConfigError
from wmss_cli.core.manifest import MANIFEST, Manifest, read_manifest


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
