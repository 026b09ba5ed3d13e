"""The commands around a run: init, doctor, config show."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.table import Table

from wmss_cli.cli import console, options
from wmss_cli.core.errors import ConfigError
from wmss_cli.core.resolve import flatten
from wmss_cli.core.resources import packaged

app = typer.Typer()
config_app = typer.Typer(no_args_is_help=True, help="Example: wmss config show -c demo.yaml")
app.add_typer(config_app, name="config", short_help="Look at the configuration.")

Json = Annotated[bool, typer.Option("--json", help="Print JSON to stdout.")]


@app.command("init", short_help="Copy example configurations into a folder.")
def init(
    folder: Annotated[Path, typer.Argument(help="Is created.")] = Path(),
    force: Annotated[bool, typer.Option("--force", help="Replace files that are there.")] = False,
) -> None:
    """Example: wmss init my-project

    Prints the files that were written.
    """
    sources = sorted(packaged("configs").glob("*.yaml"))
    targets = [folder / source.name for source in sources]
    there = [str(target) for target in targets if target.exists()]
    if there and not force:
        raise ConfigError(f"{', '.join(there)}: there already; choose another folder or --force")
    folder.mkdir(parents=True, exist_ok=True)
    for source, target in zip(sources, targets, strict=True):
        shutil.copyfile(source, target)
        console.print_line(str(target))


@app.command("doctor", short_help="Say what is here, what is missing, and how to get it.")
def doctor(as_json: Json = False) -> None:
    """Example: wmss doctor

    Ends with exit code 3 where something is missing that wmss cannot do without.
    """
    from wmss_cli.launch.doctor import examine

    findings = examine()
    if as_json:
        console.print_json([finding.model_dump() for finding in findings])
    else:
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        table.add_column("", no_wrap=True)
        table.add_column("what", no_wrap=True)
        table.add_column("found", overflow="fold")
        table.add_column("what to do", overflow="fold")
        marks = {"ok": "[green]ok[/]", "note": "[yellow]note[/]", "missing": "[red]missing[/]"}
        for finding in findings:
            table.add_row(marks[finding.state], finding.what, finding.found, finding.advice)
        console.out.print(table)
    if any(finding.state == "missing" for finding in findings):
        raise typer.Exit(ConfigError.exit_code)


@config_app.command("show", short_help="Print every option, its value and where it came from.")
def show(config: options.Config = None, sets: options.Set = None, as_json: Json = False) -> None:
    """Example: wmss config show -c demo.yaml --set joint.mix_lambda=0.42

    The strongest source wins: options, then --set, then the YAML file, then the defaults.
    """
    resolved = options.configure(config, sets, {})
    leaves = flatten(resolved.config)
    if as_json:
        console.print_json(
            {key: {"value": value, "from": resolved.origins[key]} for key, value in leaves.items()}
        )
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("key", no_wrap=True)
    table.add_column("value", overflow="fold")
    table.add_column("from", overflow="fold")
    for key, value in leaves.items():
        table.add_row(key, "" if value is None else str(value), resolved.origins[key])
    console.out.print(table)
