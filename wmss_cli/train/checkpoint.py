"""Checkpoints that are whole or not there, and the way back to the newest one that verifies.

A checkpoint is written to ``step-N.saving`` by all ranks together, hashed, described by a
manifest, flushed, and renamed to ``step-N``::

    checkpoints/step-00000200/manifest.json     step, world size, sha256 of each file
    checkpoints/step-00000200/state/            DeepSpeed's files

DeepSpeed's states are pickles: nothing is loaded before its hash and its owner were checked.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import torch
from deepspeed.runtime.engine import DeepSpeedEngine
from pydantic import BaseModel, ConfigDict, ValidationError

from wmss_cli.core import files
from wmss_cli.core.errors import IntegrityError
from wmss_cli.train.ranks import Ranks

_TAG = "state"
_MANIFEST = "manifest.json"


class CheckpointManifest(BaseModel):
    """What a checkpoint is: written last."""

    model_config = ConfigDict(frozen=True)

    step: int
    """Optimizer steps done."""
    world_size: int
    dtype: str
    """Of the weights while training."""
    files: dict[str, str]
    """Relative path to SHA-256."""
    totals: dict[str, float]
    """Sums over all steps so far, such as tokens and seconds."""


def save(
    engine: DeepSpeedEngine,
    folder: Path,
    step: int,
    totals: dict[str, float],
    ranks: Ranks,
    keep: int,
) -> Path:
    """Save the engine's state, on all ranks together.

    Parameters
    ----------
    engine : DeepSpeedEngine
        At a step boundary.
    folder : Path
        Of all checkpoints.
    step : int
        Optimizer steps done.
    totals : dict of str to float
        Kept with the checkpoint.
    ranks : Ranks
        All of them call this.
    keep : int
        How many checkpoints remain.

    Returns
    -------
    Path
        Of the new checkpoint.
    """
    final = folder / f"step-{step:08d}"
    saving = folder / f"{final.name}.saving"
    if ranks.is_first:
        shutil.rmtree(saving, ignore_errors=True)
        saving.mkdir(parents=True)
    ranks.barrier()
    engine.save_checkpoint(str(saving), tag=_TAG, save_latest=False)
    ranks.barrier()
    names = files.files_under(saving)
    mine = {}
    for name in names[ranks.rank :: ranks.world_size]:
        files.fsync(saving / name)
        mine[str(name)] = files.sha256(saving / name)
    hashes = {name: value for part in ranks.gather(mine) for name, value in part.items()}
    if ranks.is_first:
        manifest = CheckpointManifest(
            step=step,
            world_size=ranks.world_size,
            dtype=str(next(engine.module.parameters()).dtype),
            files=hashes,
            totals=totals,
        )
        files.write_json(saving / _MANIFEST, manifest.model_dump())
        shutil.rmtree(final, ignore_errors=True)
        saving.rename(final)
        files.fsync(folder)
        _prune(folder, keep)
    ranks.barrier()
    return final


def newest(folder: Path, ranks: Ranks) -> tuple[Path, CheckpointManifest] | None:
    """Return the newest checkpoint that verifies, or None where there is none.

    Raises
    ------
    IntegrityError
        If checkpoints are there and none of them verifies.
    """
    candidates = ranks.from_first(lambda: _owned_candidates(folder))
    damaged: list[Path] = []
    for path in candidates:
        manifest = _read(path)
        sound = manifest is not None and _sound_part(path, manifest, ranks)
        if not ranks.any(not sound):
            assert manifest is not None
            for newer in damaged if ranks.is_first else []:
                # Out of the count of checkpoints to keep, but there for who wants to look.
                newer.rename(newer.with_name(f"{newer.name}.damaged"))
            return path, manifest
        damaged.append(path)
    if candidates:
        raise IntegrityError(
            f"{folder}: none of {len(candidates)} checkpoints holds its hashes; "
            "--force starts this stage anew"
        )
    return None


def load(engine: DeepSpeedEngine, checkpoint: Path, universal: bool) -> None:
    """Load a checkpoint that was verified into an engine.

    Parameters
    ----------
    engine : DeepSpeedEngine
        Built for this kind of checkpoint.
    checkpoint : Path
        As :func:`newest` or :func:`universal_form` returned it.
    universal : bool
        Whether it is in the universal form.
    """
    decays = [group["weight_decay"] for group in engine.optimizer.param_groups]
    path, _ = engine.load_checkpoint(
        str(checkpoint), tag=_TAG, load_lr_scheduler_states=False, load_module_strict=True
    )
    assert path is not None, f"DeepSpeed found nothing in {checkpoint} (universal: {universal})"
    if universal and engine.zero_optimization_stage() == 3:
        # DeepSpeed 0.19 gives all groups the first one's weight decay, and all weights one
        # shared step counter, which Adam then advances once per weight.
        for group, decay in zip(engine.optimizer.param_groups, decays, strict=True):
            group["weight_decay"] = decay
        for state in engine.optimizer.optimizer.state.values():
            if torch.is_tensor(state.get("step")):
                state["step"] = state["step"].clone()


def universal_form(checkpoint: Path, ranks: Ranks) -> Path:
    """Convert a checkpoint to DeepSpeed's universal form, which any world size can load."""
    universal = checkpoint.with_name(f"{checkpoint.name}.universal")

    def convert() -> None:
        shutil.rmtree(universal, ignore_errors=True)
        command = [sys.executable, "-m", "deepspeed.checkpoint.ds_to_universal"]
        command += ["--input_folder", str(checkpoint / _TAG)]
        command += ["--output_folder", str(universal / _TAG), "--inject_missing_state"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["no output"])[-1]
            raise IntegrityError(
                f"{checkpoint}: cannot be converted for {ranks.world_size} processes ({last}); "
                "resume with the number of processes that wrote it"
            )

    ranks.from_first(convert)
    return universal


def _candidates(folder: Path) -> list[Path]:
    steps = [path for path in folder.glob("step-*") if path.name.removeprefix("step-").isdigit()]
    return sorted(steps, reverse=True)


def _owned_candidates(folder: Path) -> list[Path]:
    """Return the checkpoints, newest first; they are pickles, so they must be one's own."""
    candidates = _candidates(folder)
    for path in candidates:
        owner = path.stat().st_uid
        if owner != os.getuid():
            raise IntegrityError(
                f"{path}: belongs to user {owner}, and is not loaded for that reason; "
                "go on as that user, or chown it"
            )
    return candidates


def _read(path: Path) -> CheckpointManifest | None:
    try:
        return CheckpointManifest.model_validate_json((path / _MANIFEST).read_text("utf-8"))
    except (OSError, ValidationError):
        return None


def _sound_part(path: Path, manifest: CheckpointManifest, ranks: Ranks) -> bool:
    """Check this rank's share of the hashes."""
    mine = sorted(manifest.files)[ranks.rank :: ranks.world_size]
    return all(
        (path / name).is_file() and files.sha256(path / name) == manifest.files[name]
        for name in mine
    )


def _prune(folder: Path, keep: int) -> None:
    for path in _candidates(folder)[keep:]:
        # Without its manifest it is no checkpoint, even if the removal is cut short.
        (path / _MANIFEST).unlink(missing_ok=True)
        shutil.rmtree(path)
    for left in [*folder.glob("*.universal"), *folder.glob("*.saving")]:
        shutil.rmtree(left)
