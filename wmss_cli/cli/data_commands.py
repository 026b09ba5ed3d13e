"""The command that gets the rows of benchmarks: wmss data fetch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.table import Table

from wmss_cli.cli import console
from wmss_cli.core.errors import ConfigError

app = typer.Typer()
data_app = typer.Typer(no_args_is_help=True, help="Example: wmss data fetch gsm8k math500")
app.add_typer(data_app, name="data", short_help="Get the rows of benchmarks.")


@data_app.command("fetch", short_help="Get the rows of benchmarks, and check their contents.")
def fetch(
    tasks: Annotated[
        list[str] | None,
        typer.Argument(metavar="TASK", help="Benchmarks; by default all that ship with wmss."),
    ] = None,
    to: Annotated[Path, typer.Option("--to", help="Folder for TASK.jsonl.")] = Path("benchmarks"),
    folder: Annotated[
        Path | None,
        typer.Option(
            "--from",
            metavar="FOLDER",
            help="Take files from here instead of the network: TASK.jsonl, or OWNER/NAME/FILE.",
        ),
    ] = None,
) -> None:
    """Example: wmss data fetch gsm8k math500

    Downloads from the Hugging Face hub (or the mirror in HF_ENDPOINT), otherwise from GitHub, at
    pinned revisions. Rows that differ from those this version was tested with are refused, wherever
    they come from. Without a network, fetch on another machine and copy the folder.
    """
    from wmss_cli.evaluate.fetch import fetch as fetch_rows
    from wmss_cli.evaluate.tasks import find_spec, read_spec, shipped

    if folder is not None and not folder.is_dir():
        raise ConfigError(f"{folder}: no such folder; --from names one that contains the files")
    specs = [read_spec(find_spec(name)) for name in tasks or shipped()]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("task", no_wrap=True)
    table.add_column("rows", justify="right")
    table.add_column("from", overflow="fold")
    failures = {}
    for task in specs:
        try:
            done = fetch_rows(task, to, folder)
        except ConfigError as error:
            failures[task.name] = str(error)
        else:
            table.add_row(task.name, f"{done.rows:,}", done.origin)
    if table.rows:
        console.out.print(table)
    for name, reason in failures.items():
        console.print_error(f"{name}: {reason}")
    if failures:
        raise typer.Exit(ConfigError.exit_code)
