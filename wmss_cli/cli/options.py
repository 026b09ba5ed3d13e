"""Options that several commands share, and how they become a configuration."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from wmss_cli.core.errors import ConfigError
from wmss_cli.core.selection import Selection

if TYPE_CHECKING:
    from wmss_cli.core.resolve import Resolved


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
Force = Annotated[bool, typer.Option("--force", help="Do it again, replacing what exists.")]
Json = Annotated[bool, typer.Option("--json", help="Print the manifest as JSON to stdout.")]
Processes = Annotated[
    int | None,
    typer.Option("--processes", help="Processes here; by default one per GPU [launch.processes]."),
]

_PANEL = "Slurm"
Cluster = Annotated[
    Literal["local", "slurm"] | None,
    typer.Option(
        "--cluster", help="Run here, or submit jobs [launch.cluster].", rich_help_panel=_PANEL
    ),
]
Profile = Annotated[
    str | None,
    typer.Option(
        "--profile",
        metavar="NAME",
        help="What jobs ask for: h800:8b, or a YAML file [launch.profile].",
        rich_help_panel=_PANEL,
    ),
]
Slurm = Annotated[
    list[str] | None,
    typer.Option(
        "--slurm",
        metavar="KEY=VALUE",
        help="Change the profile: partition=long, account=me, train.nodes=2.",
        rich_help_panel=_PANEL,
    ),
]
DryRun = Annotated[
    bool,
    typer.Option(
        "--dry-run",
        help="Show the scripts and what Slurm says about them; submit nothing.",
        rich_help_panel=_PANEL,
    ),
]
Wait = Annotated[
    bool,
    typer.Option(
        "--wait", help="Follow the jobs to their end; Ctrl-C detaches.", rich_help_panel=_PANEL
    ),
]


_STUDY = "Study"
# The fields of a selection as options.
_SELECTION = {
    "arm": Annotated[
        str | None, typer.Option("--arm", help="Only this arm.", rich_help_panel=_STUDY)
    ],
    "seed": Annotated[
        int | None,
        typer.Option("--seed", help="Only this seed.", rich_help_panel=_STUDY),
    ],
    "model": Annotated[
        str | None,
        typer.Option("--model", help="Only this base model.", rich_help_panel=_STUDY),
    ],
}


@dataclass(frozen=True)
class Launch:
    """Where and how a command runs its stages, as given on the command line."""

    cluster: Cluster = None
    profile: Profile = None
    slurm: Slurm = None
    dry_run: DryRun = False
    wait: Wait = False

    @property
    def settings(self) -> dict[str, tuple[str, Any]]:
        """The part of it that is in the configuration, for :func:`configure`."""
        return {
            "launch.cluster": ("--cluster", self.cluster),
            "launch.profile": ("--profile", self.profile),
        }


@dataclass(frozen=True)
class Common:
    """What every stage's command takes besides its own options."""

    config: Config = None
    sets: Set = None
    out: Out = None
    force: Force = False
    as_json: Json = False


def spread(command: Callable[..., None]) -> Callable[..., None]:
    """Offer the fields of :class:`Common`, :class:`Launch` and :class:`Selection` as options.

    The command takes them as parameters of these types, so that the same ten options need not
    be in every signature.
    """
    own = inspect.signature(command, eval_str=True)
    groups = {
        name: parameter.annotation
        for name, parameter in own.parameters.items()
        if parameter.annotation in (Common, Launch, Selection)
    }
    fields = {
        name: inspect.signature(group, eval_str=True).parameters for name, group in groups.items()
    }

    @functools.wraps(command)
    def with_options(**values: Any) -> None:
        for name, group in groups.items():
            values[name] = group(**{field: values.pop(field) for field in fields[name]})
        command(**values)

    kept = [p for name, p in own.parameters.items() if name not in groups]
    shared = [
        parameter.replace(annotation=_SELECTION.get(field, parameter.annotation))
        for group in fields.values()
        for field, parameter in group.items()
    ]
    parameters = [p.replace(kind=p.KEYWORD_ONLY) for p in (*kept, *shared)]
    with_options.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined]
    with_options.__annotations__ = {p.name: p.annotation for p in parameters}
    return with_options


def expand_paths(app: typer.Typer) -> None:
    """Give all commands their paths with ``~`` and variables expanded, also in ``--out=~``.

    Paths that are also options of the configuration are strings here, and are expanded with it.
    """
    for group in app.registered_groups:
        assert group.typer_instance is not None
        expand_paths(group.typer_instance)
    for info in app.registered_commands:
        assert info.callback is not None
        info.callback = _with_paths(info.callback)


def _with_paths(command: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(command)
    def with_paths(**values: Any) -> Any:
        return command(**{name: _expanded(name, value) for name, value in values.items()})

    return with_paths


def _expanded(name: str, value: Any) -> Any:
    from wmss_cli.core.paths import expand

    if not isinstance(value, Path):
        return value
    try:
        return Path(expand(str(value)))
    except ConfigError as error:
        raise ConfigError(f"--{name.replace('_', '-')}: {error}") from None


def configure(
    config: Path | None, sets: list[str] | None, options: Mapping[str, tuple[str, Any]]
) -> Resolved:
    """Merge a command's options with its YAML file; options that were not given are None.

    Parameters
    ----------
    config, sets
        The values of ``--config`` and ``--set``.
    options : mapping
        Dotted key to (name of the option, value or None).
    """
    from wmss_cli.core.resolve import resolve

    given = {
        key: (name, value) for key, (name, value) in options.items() if value not in (None, [])
    }
    return resolve(config, sets or (), given)
