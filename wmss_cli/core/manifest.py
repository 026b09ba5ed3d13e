"""The manifest: what made an artifact, from what, and the hash of every file in it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from wmss_cli.core import files
from wmss_cli.core.errors import ConfigError, IntegrityError
from wmss_cli.core.sealed import unseal, write_sealed

FORMAT = 1
"""Raised when older artifacts must no longer count as done."""

MANIFEST = "manifest.json"


class InputRef(BaseModel):
    """One input of a stage, as it was when the stage read it."""

    model_config = ConfigDict(frozen=True)

    path: str
    fingerprint: str
    """What it is: an artifact's fingerprint, or the hash of a file's or folder's content."""
    digest: str
    """What is in it: the hash over all its files' hashes."""


class Manifest(BaseModel):
    """What made an artifact, from what, and what is in it."""

    model_config = ConfigDict(frozen=True)

    format: int
    stage: str
    fingerprint: str
    digest: str
    config: dict[str, Any]
    inputs: dict[str, InputRef]
    files: dict[str, str]
    """Relative path to SHA-256."""
    metrics: dict[str, Any]
    versions: dict[str, str]
    commit: str | None
    job_id: str | None
    attempt: int
    started: str
    seconds: float
    """Time of the last attempt, in seconds."""

    @property
    def work_seconds(self) -> float:
        """Time of the work, in seconds; for a stage in shards, the sum over them."""
        return float(self.metrics.get("shard_seconds", self.seconds))


def fingerprint(stage: str, identity: Mapping[str, Any], inputs: Mapping[str, str]) -> str:
    """Return the fingerprint of a stage's result.

    Parameters
    ----------
    stage : str
        Name of the stage.
    identity : mapping
        The options that decide the result.
    inputs : mapping of str to str
        Fingerprints by role.
    """
    return files.canonical_hash(
        {"format": FORMAT, "stage": stage, "config": identity, "inputs": inputs}
    )


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest of an artifact.

    Raises
    ------
    ConfigError
        If the folder is missing or unfinished.
    IntegrityError
        If the manifest is not one of ours.
    """
    try:
        with files.naming(folder / MANIFEST):
            content = (folder / MANIFEST).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        what = "has no manifest: unfinished, or not an artifact" if folder.exists() else "not found"
        raise ConfigError(f"{folder}: {what}; run the stage that writes it") from None
    try:
        return Manifest.model_validate(unseal(content))
    except ValidationError:
        if _looks_like_ours(content):
            raise IntegrityError(f"{folder / MANIFEST}: damaged; {make_again(folder)}") from None
        raise IntegrityError(
            f"{folder / MANIFEST}: not a manifest of wmss; redo the stage"
        ) from None


def _looks_like_ours(content: bytes) -> bool:
    """Say whether this was a manifest of ours before it was damaged."""
    return sum(f'"{name}"'.encode() in content for name in Manifest.model_fields) > 5


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write the manifest of an artifact, with a checksum of its own."""
    write_sealed(folder / MANIFEST, manifest.model_dump(mode="json"))


def make_again(folder: Path) -> str:
    """Say what to do about a damaged artifact."""
    return f"delete the folder {folder} and repeat the command that made it"


def damage(folder: Path, name: str, found: str | None, expected: str) -> IntegrityError:
    """Return the error about a file of an artifact whose content is not what was written.

    Parameters
    ----------
    folder : Path
        The artifact.
    name : str
        Relative path of the file.
    found, expected : str or None
        SHA-256; `found` is None if the file is missing.
    """
    if found is None:
        return IntegrityError(f"{folder / name}: missing from the artifact; {make_again(folder)}")
    return IntegrityError(
        f"{folder / name}: changed since it was written, by hand or by a faulty disk (SHA-256 "
        f"{found[:8]}…, {expected[:8]}… in {MANIFEST}); {make_again(folder)}"
    )


def verify(folder: Path) -> Manifest:
    """Check the hash of every file of an artifact and return its manifest.

    Raises
    ------
    IntegrityError
        If a file is missing or its content changed.
    """
    manifest = read_manifest(folder)
    for name, expected in manifest.files.items():
        path = folder / name
        found = files.sha256(path) if path.is_file() else None
        if found != expected:
            raise damage(folder, name, found, expected)
    return manifest


def reference(path: Path) -> InputRef:
    """Describe an input: an artifact, or what is in one, by its manifest; else by its content."""
    if (path / MANIFEST).is_file():
        manifest = read_manifest(path)
        return InputRef(path=str(path), fingerprint=manifest.fingerprint, digest=manifest.digest)
    inside = manifest_over(path)
    if inside is not None:
        return InputRef(
            path=str(path),
            fingerprint=f"{inside.fingerprint}/{path.name}",
            digest=inside.digest,
        )
    if path.is_file():
        digest = files.known_sha256(path)
    elif path.is_dir():
        # Downloads and git keep notes in hidden folders, which change though the model does not.
        names = [name for name in files.files_under(path) if not _is_hidden(name.parent)]
        digest = files.canonical_hash(
            {str(name): files.known_sha256(path / name) for name in names}
        )
    else:
        raise ConfigError(f"{path}: no such file or folder; check the path")
    return InputRef(path=str(path), fingerprint=digest, digest=digest)


def _is_hidden(folder: Path) -> bool:
    return any(part.startswith(".") for part in folder.parts)


def manifest_over(path: Path) -> Manifest | None:
    """Return the manifest of the artifact that a file or folder is a part of, if it is one."""
    try:
        manifest = read_manifest(path.parent)
    except ConfigError:
        return None
    except IntegrityError:
        if _looks_like_ours((path.parent / MANIFEST).read_bytes()):
            raise
        # Other tools have a manifest.json too.
        return None
    is_part = any(name.split("/")[0] == path.name for name in manifest.files)
    return manifest if is_part else None
