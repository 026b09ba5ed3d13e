"""Options that several commands share, and how they become a configuration."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from wmss_cli.core.resolve import Resolved, resolve

Config = Annotated[
    Path | None, typer.Option("--config", "-c", help="YAML file with the options of all stages.")
]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", "-s", metavar="KEY=VALUE", help="Set any option: sft.epochs=2."),
]
Out = Annotated[
    Path | None,
    typer.Option("--out", "-o", help="Folder of the result. Default: RUN_DIR/STAGE-FINGERPRINT."),
]
Force = Annotated[bool, typer.Option("--force", help="Do it again, replacing what is there.")]
Json = Annotated[bool, typer.Option("--json", help="Print the manifest as JSON to stdout.")]
Processes = Annotated[
    int | None,
    typer.Option("--processes", help="Ranks on this machine: one per GPU [launch.processes]."),
]


def configure(
    config: Path | None, sets: list[str] | None, options: Mapping[str, tuple[str, Any]]
) -> Resolved:
    """Merge a command's options with its YAML file; options that were not given are None.

    Parameters
    ----------
    config, sets
        Of ``--config`` and ``--set``.
    options : mapping
        Dotted key to (name of the option, value or None).
    """
    given = {
        key: (name, value) for key, (name, value) in options.items() if value not in (None, [])
    }
    return resolve(config, sets or (), given)
