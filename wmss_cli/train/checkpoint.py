"""Checkpoints that are either complete or absent, and the search for the newest valid one.

All ranks write a checkpoint to ``step-N.saving``: each writes its own files, hashes them and
flushes them. When all are done, the first rank writes the manifest and renames it to ``step-N``::

    checkpoints/step-00000200/manifest.json     step, world size, sha256 of each file
    checkpoints/step-00000200/state/            DeepSpeed's files

Frozen weights are not included: they come from their model's folder.
DeepSpeed's states are pickles: nothing is loaded before its hash and its owner are checked.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from deepspeed.runtime.engine import DeepSpeedEngine
from pydantic import BaseModel, ConfigDict, ValidationError
from torch import nn

from wmss_cli.core import files
from wmss_cli.core.errors import ConfigError, IntegrityError, StorageError, explain
from wmss_cli.core.sealed import unseal, write_sealed
from wmss_cli.train.ranks import Ranks
from wmss_cli.train.state_files import StateFiles

_TAG = "state"
_MANIFEST = "manifest.json"
_SAVING = ".saving"


class CheckpointManifest(BaseModel):
    """Describes a checkpoint; written last."""

    model_config = ConfigDict(frozen=True)

    step: int
    """Number of optimizer steps done."""
    world_size: int
    dtype: str
    """Type of the weights during training."""
    files: dict[str, str]
    """SHA-256 of each file by its relative path."""
    totals: dict[str, float]
    """Sums over all steps so far, such as tokens and seconds."""


class Saver:
    """Saves checkpoints, one at a time; training waits only for a copy into host memory.

    All ranks call the methods together. DeepSpeed gets a checkpoint engine that copies; a thread of
    each rank then writes and hashes that rank's files. A checkpoint exists once all ranks are done
    and have met again in :meth:`finish`.

    Parameters
    ----------
    engine : DeepSpeedEngine
        The engine to save, at step boundaries.
    folder : Path
        The folder for all checkpoints.
    ranks : Ranks
        The processes that train together.
    keep : int
        Number of checkpoints to keep.
    beside : sequence of Path
        Files that grow during training; a checkpoint has its own copies of those that exist.
    """

    def __init__(
        self,
        engine: DeepSpeedEngine,
        folder: Path,
        ranks: Ranks,
        keep: int,
        beside: Sequence[Path] = (),
    ) -> None:
        self._engine = engine
        self._folder = folder
        self._ranks = ranks
        self._keep = keep
        self._beside = beside
        self._files = StateFiles(_frozen(engine.module))
        engine.checkpoint_engine = self._files
        self._pending: _Pending | None = None

    @property
    def pending(self) -> bool:
        """Whether a checkpoint has been started and not finished."""
        return self._pending is not None

    @property
    def busy(self) -> bool:
        """Whether this rank is still writing; :meth:`finish` would wait."""
        return self._files.busy

    def begin(self, step: int, totals: dict[str, float]) -> None:
        """Copy the engine's state and start writing it; an earlier checkpoint is finished first.

        Parameters
        ----------
        step : int
            Number of optimizer steps done.
        totals : dict of str to float
            Stored with the checkpoint.

        Raises
        ------
        StorageError, OSError
            As in :meth:`finish`.
        """
        self.finish()
        started = time.monotonic()
        saving = self._folder / f"step-{step:08d}{_SAVING}"

        def make() -> None:
            shutil.rmtree(saving, ignore_errors=True)
            # DeepSpeed makes this folder too, but only logs that it could not.
            (saving / _TAG).mkdir(parents=True)
            for path in self._beside:
                if path.exists():
                    shutil.copyfile(path, saving / path.name)

        self._ranks.from_first(make)
        self._engine.save_checkpoint(
            str(saving), tag=_TAG, save_latest=False, exclude_frozen_parameters=True
        )
        self._files.start()
        copied = time.monotonic() - started
        self._pending = _Pending(saving, step, dict(totals), started, copied)

    def finish(self) -> Path | None:
        """Wait until the checkpoint is complete and return its folder; None if none was started.

        Raises
        ------
        StorageError, OSError
            If one of the ranks could not write its files; the previous checkpoint remains.
        """
        if self._pending is None:
            return None
        pending, self._pending = self._pending, None
        error: Exception | None = None
        hashes: dict[str, str] = {}
        try:
            with self._ranks.patient():
                written = self._files.wait()
            hashes = {str(p.relative_to(pending.saving)): digest for p, digest in written.items()}
        except Exception as raised:
            error = raised
        said = None if error is None else str(explain(error) or f"{type(error).__name__}: {error}")
        parts = self._ranks.gather((hashes, said))
        problems = [problem for _, problem in parts if problem is not None]
        if problems:
            # All threads have ended. Half a checkpoint is useless, and may fill the disk.
            self._ranks.from_first(lambda: shutil.rmtree(pending.saving, ignore_errors=True))
            raise error or StorageError(problems[0])
        for part, _ in parts:
            hashes |= part
        return Path(self._ranks.from_first(lambda: self._commit(pending, hashes)))

    def _commit(self, pending: _Pending, hashes: dict[str, str]) -> Path:
        saving = pending.saving
        for name in map(str, files.files_under(saving)):
            if name not in hashes:
                # Copied by this rank: DeepSpeed's scripts, and files of the training.
                files.fsync(saving / name)
                hashes[name] = files.sha256(saving / name)
        manifest = CheckpointManifest(
            step=pending.step,
            world_size=self._ranks.world_size,
            dtype=str(next(self._engine.module.parameters()).dtype),
            files=hashes,
            totals=pending.totals,
        )
        files.fsync(saving / _TAG)
        write_sealed(saving / _MANIFEST, manifest.model_dump())
        final = saving.with_name(saving.name.removesuffix(_SAVING))
        shutil.rmtree(final, ignore_errors=True)
        saving.rename(final)
        files.fsync(self._folder)
        seconds = time.monotonic() - pending.started
        size = sum((final / name).stat().st_size for name in hashes) / 1e9
        _prune(self._folder, self._keep)
        print(  # noqa: T201 - goes to the log of the stage
            f"checkpoint {final.name}: {size:.3f} GB; training waited {pending.copied:.2f} s for "
            f"the copy, the files were complete after {seconds:.2f} s",
            flush=True,
        )
        return final


@dataclass(frozen=True)
class _Pending:
    """A checkpoint that is being written."""

    saving: Path
    step: int
    totals: dict[str, float]
    started: float
    copied: float


def _frozen(module: nn.Module) -> frozenset[str]:
    """Return all names of weights that are not trained, so they are as in their model's folder."""
    named = module.named_parameters(remove_duplicate=False)
    return frozenset(name for name, parameter in named if not parameter.requires_grad)


def newest(folder: Path, ranks: Ranks) -> tuple[Path, CheckpointManifest] | None:
    """Return the newest valid checkpoint, or None if there are none.

    Raises
    ------
    IntegrityError
        If checkpoints exist and none of them is valid.
    """
    candidates = ranks.from_first(lambda: _owned_candidates(folder))
    damaged: list[Path] = []
    for path in candidates:
        manifest = _read(path)
        sound = manifest is not None and _sound_part(path, manifest, ranks)
        if not ranks.any(not sound):
            assert manifest is not None
            for newer in damaged if ranks.is_first else []:
                # Not among the checkpoints to keep, but still available for inspection.
                newer.rename(newer.with_name(f"{newer.name}.damaged"))
            return path, manifest
        damaged.append(path)
    if candidates:
        raise IntegrityError(
            f"{folder}: none of {len(candidates)} checkpoints matches its hashes; "
            "--force starts this stage anew"
        )
    return None


def restore(checkpoint: Path, beside: Sequence[Path]) -> None:
    """Restore the files that grow during training to their state at a checkpoint.

    Parameters
    ----------
    checkpoint : Path
        As returned by :func:`newest`.
    beside : sequence of Path
        As in :class:`Saver`. Files without a copy stay as they are: earlier versions made none.
    """
    for path in beside:
        if (checkpoint / path.name).is_file():
            files.write_text(path, (checkpoint / path.name).read_text(encoding="utf-8"))


def load(engine: DeepSpeedEngine, checkpoint: Path, universal: bool) -> None:
    """Load a verified checkpoint into an engine.

    Parameters
    ----------
    engine : DeepSpeedEngine
        An engine built for this kind of checkpoint.
    checkpoint : Path
        As returned by :func:`newest` or :func:`universal_form`.
    universal : bool
        Whether it has the universal form.

    Raises
    ------
    ConfigError
        If the optimizer was laid out otherwise when it was written.
    """
    decays = [group["weight_decay"] for group in engine.optimizer.param_groups]
    try:
        path, _ = engine.load_checkpoint(
            str(checkpoint), tag=_TAG, load_lr_scheduler_states=False, custom_load_fn=_load_weights
        )
    except ValueError as error:
        if "parameter group" not in str(error):
            raise
        raise ConfigError(
            f"{checkpoint}: the optimizer was laid out otherwise when this was written; "
            "sub_group_size of deepspeed.zero_optimization must stay as it was"
        ) from error
    assert path is not None, f"DeepSpeed found nothing in {checkpoint} (universal: {universal})"
    if universal and engine.zero_optimization_stage() == 3:
        # DeepSpeed 0.19 gives all groups the weight decay of the first, and all weights one shared
        # step counter, which Adam would then advance once per weight.
        for group, decay in zip(engine.optimizer.param_groups, decays, strict=True):
            group["weight_decay"] = decay
        for state in engine.optimizer.optimizer.state.values():
            if torch.is_tensor(state.get("step")):
                state["step"] = state["step"].clone()


def _load_weights(src: Mapping[str, Any], dst: nn.Module) -> None:
    """Load weights; frozen ones may be missing, since they are already loaded."""
    found = dst.load_state_dict(src, strict=False)
    missing = set(found.missing_keys) - _frozen(dst)
    assert not missing, f"the checkpoint lacks {sorted(missing)}"
    assert not found.unexpected_keys, f"the checkpoint has {sorted(found.unexpected_keys)}, too"


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
            shutil.rmtree(universal, ignore_errors=True)
            known = explain(RuntimeError(done.stderr), str(universal))
            if known is not None:
                raise known
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
    """Return the checkpoints, newest first; they are pickles, so they must belong to this user."""
    candidates = _candidates(folder)
    for path in candidates:
        owner = path.stat().st_uid
        if owner != os.getuid():
            raise IntegrityError(
                f"{path}: belongs to user {owner}, and is therefore not loaded; "
                "continue as that user, or chown it"
            )
    return candidates


def _read(path: Path) -> CheckpointManifest | None:
    try:
        with files.naming(path / _MANIFEST):
            content = (path / _MANIFEST).read_bytes()
    except FileNotFoundError:
        return None
    try:
        return CheckpointManifest.model_validate(unseal(content))
    except ValidationError:
        return None


def _sound_part(path: Path, manifest: CheckpointManifest, ranks: Ranks) -> bool:
    """Check the hashes of this rank's share of the files."""
    mine = sorted(manifest.files)[ranks.rank :: ranks.world_size]
    return all(
        (path / name).is_file() and files.sha256(path / name) == manifest.files[name]
        for name in mine
    )


def _prune(folder: Path, keep: int) -> None:
    for path in _candidates(folder)[keep:]:
        # Without its manifest it is not a checkpoint, even if the removal is interrupted.
        (path / _MANIFEST).unlink(missing_ok=True)
        shutil.rmtree(path)
    for left in [*folder.glob("*.universal"), *folder.glob(f"*{_SAVING}")]:
        shutil.rmtree(left)
