"""The ``wmss`` command: what it offers, and how an error ends it."""

from __future__ import annotations

import re
import sys
import traceback
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

import wmss_cli
from wmss_cli.cli import (
    answer_commands,
    bench_commands,
    cluster_commands,
    console,
    data_commands,
    options,
    plan_commands,
    run_commands,
    setup_commands,
    stage_commands,
)
from wmss_cli.core.errors import explain

_DEBUG = "--debug"


class _Group(TyperGroup):
    """Shows an error that a user can fix as one line, and ends with its exit code."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except (Exception, KeyboardInterrupt) as error:
            known = explain(error)
            if known is None:
                raise
            if ctx.params.get("debug"):
                traceback.print_exception(error)
            console.print_error(str(known))
            raise typer.Exit(known.exit_code) from None


app = typer.Typer(
    name="wmss",
    cls=_Group,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)
for group in (
    run_commands,
    plan_commands,
    stage_commands,
    answer_commands,
    data_commands,
    cluster_commands,
    setup_commands,
    bench_commands,
):
    options.expand_paths(group.app)
    app.add_typer(group.app)


def _version(wanted: bool) -> None:
    if wanted:
        console.print_line(wmss_cli.__version__)
        raise typer.Exit


@app.callback()
def wmss(
    debug: Annotated[
        bool,
        typer.Option(_DEBUG, help="Show the traceback of an error (anywhere on the line)."),
    ] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Example: wmss run study.yaml

    Post-training of language models by Weak-Driven Learning. 'wmss run' runs the whole pipeline.
    Its stages also have commands of their own: curate, tokenize, sft, score-entropy,
    build-curriculum, joint-train, eval.
    """


def main() -> None:
    """Run the command line; ``--debug`` may be anywhere in it."""
    arguments = [argument for argument in sys.argv[1:] if argument != _DEBUG]
    empty = next((one for one in arguments if not one or re.fullmatch(r"--[a-z-]+=", one)), None)
    if empty is not None:
        # --out "$RUNS" would be the current folder.
        what = empty.rstrip("=") or "an argument"
        console.print_error(f"{what} is empty; is the variable that it comes from set?")
        raise SystemExit(2)
    if len(arguments) < len(sys.argv) - 1:
        arguments.insert(0, _DEBUG)
    app(args=arguments, prog_name="wmss")


if __name__ == "__main__":
    main()
