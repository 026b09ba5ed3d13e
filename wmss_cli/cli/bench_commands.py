"""The command that measures: wmss bench."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from wmss_cli.cli import console, options
from wmss_cli.cli.running import obtain
from wmss_cli.cli.tables import number
from wmss_cli.core.errors import ConfigError

if TYPE_CHECKING:
    from wmss_cli.bench.results import BenchTable, Entry, Ratio, Spread

app = typer.Typer()


@app.command("bench", short_help="Measure wmss against other implementations, on this machine.")
@options.spread
def bench(
    bench: Annotated[
        Literal["loss", "step", "score", "generate", "cli", "all"],
        typer.Argument(metavar="PART", help="What to measure."),
    ],
    size: Annotated[
        Literal["table", "small"],
        typer.Option("--size", help="The sizes in the documentation, or ones that take seconds."),
    ] = "table",
    rounds: Annotated[
        int, typer.Option("--rounds", min=1, help="How often each way runs, after a warm-up.")
    ] = 3,
    model: Annotated[
        Path | None, typer.Option("--model", help="For generate: this model, with --tokens.")
    ] = None,
    tokens: Annotated[
        Path | None, typer.Option("--tokens", help="For generate: prompts from this token table.")
    ] = None,
    plot: Annotated[Path | None, typer.Option("--plot", help="Draw the times as a .png.")] = None,
    *,
    common: options.Common,
    launch: options.Launch,
) -> None:
    """Example: wmss bench loss --plot loss.png

    Runs wmss's way and others in turns, and shows the median, the lowest and the highest. The limit
    is the time that the machine's matrix products, measured between the runs, would need for the
    same FLOPs. Memory is measured in a separate process for each way. Prints the folder, or with
    --json the numbers.
    """
    from wmss_cli.bench.results import RESULTS_FILE, BenchResults
    from wmss_cli.stages.bench_config import BENCHES, BenchConfig

    if (model is None) != (tokens is None):
        raise ConfigError(
            "--model and --tokens go together: the table has to be of the model's tokenizer"
        )
    if model is not None and bench not in ("generate", "all"):
        raise ConfigError(f"--model and --tokens are for generate; leave them out of {bench}")
    resolved = options.configure(common.config, common.sets, launch.settings).config
    config = BenchConfig(
        parts=list(BENCHES) if bench == "all" else [bench],
        size=size,
        rounds=rounds,
        model=str(model.resolve()) if model else None,
        tokens=str(tokens.resolve()) if tokens else None,
        started=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    done = obtain(resolved, "bench", config, {}, common, launch)
    if done is None:
        return
    folder, _ = done
    text = (folder / RESULTS_FILE).read_text(encoding="utf-8")
    results = BenchResults.model_validate_json(text)
    if plot is not None:
        from wmss_cli.bench.results import plot_results

        plot_results(results, plot)
    if common.as_json:
        console.print_json(results.model_dump(mode="json"))
        return
    machine = results.machine
    console.err.print(f"{machine.device}, {machine.threads} threads, {machine.dtype}")
    for measured in results.parts:
        console.err.print(_shown(measured))
    console.print_line(str(folder))


def _shown(bench: BenchTable) -> Group:
    return Group(*_blocks(bench))


def _blocks(bench: BenchTable) -> Iterator[RenderableType]:
    yield Text(f"\n{bench.bench}: {bench.title}", style="bold")
    yield _ways(bench.entries)
    yield _ratios(bench.ratios)
    if bench.rate is not None:
        rate = bench.rate
        yield Text(f"limit: {_range(rate.gflops)} GFLOP/s, {rate.shape}")
    if bench.memory:
        yield Text(f"memory: {bench.memory}")
    for agreement in bench.agreements:
        kind = "relative " if agreement.relative else ""
        yield Text(
            f"{agreement.what}: largest {kind}difference {agreement.difference:.1e}, "
            f"allowed {agreement.allowed:.0e}"
        )


def _ways(entries: tuple[Entry, ...]) -> Table:
    has_limit = any(entry.limit is not None for entry in entries)
    has_memory = any(entry.memory_bytes is not None for entry in entries)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("way", no_wrap=True)
    limit = ("of limit",) if has_limit else ()
    memory = ("memory",) if has_memory else ()
    for heading in ("seconds", f"{entries[0].unit}/s", *limit, *memory):
        table.add_column(heading, justify="right", no_wrap=True)
    for entry in entries:
        share = "" if entry.limit is None else f"{entry.limit.median:.0%}"
        used = "" if entry.memory_bytes is None else f"{entry.memory_bytes / 2**30:.2f} GiB"
        table.add_row(
            entry.name,
            "" if entry.seconds is None else _range(entry.seconds),
            "" if entry.per_second is None else number(entry.per_second.median),
            *((share,) if has_limit else ()),
            *((used,) if has_memory else ()),
        )
    return table


def _ratios(ratios: tuple[Ratio, ...]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    # On a narrow screen names are folded, but numbers stay whole.
    table.add_column("ratio", overflow="fold")
    has_goals = any(ratio.goal is not None for ratio in ratios)
    for heading in ("of", "found", *(("goal", "") if has_goals else ())):
        table.add_column(heading, no_wrap=True)
    for ratio in ratios:
        goal, verdict = "", Text("")
        if ratio.goal is not None:
            goal = f"{'<=' if ratio.goal.sense == 'at most' else '>='} {ratio.goal.value:g}"
            met = ratio.goal.is_met(ratio.value.median)
            verdict = Text("yes", style="green") if met else Text("no", style="red")
        shown = (goal, verdict) if has_goals else ()
        table.add_row(ratio.name, ratio.quantity, _range(ratio.value), *shown)
    return table


def _range(spread: Spread) -> str:
    middle = f"{spread.median:.3g}"
    if spread.low == spread.high:
        return middle
    return f"{middle} ({spread.low:.3g}-{spread.high:.3g})"
