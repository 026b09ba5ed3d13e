"""Change the manifest of an artifact as another run would have written it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from wmss_cli.core.manifest import MANIFEST
from wmss_cli.core.sealed import unseal, write_sealed


def edit_manifest(artifact: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    """Edit the values of a manifest in place, and give it the checksum that fits them."""
    values = unseal((artifact / MANIFEST).read_bytes())
    assert values is not None
    edit(values)
    write_sealed(artifact / MANIFEST, values)
