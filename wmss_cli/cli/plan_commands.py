"""The command that looks ahead: plan."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wmss_cli.cli import console, options

if TYPE_CHECKING:
    from rich.table import Table

    from wmss_cli.launch.forecast import Forecast, StageMemory, TrainingForecast

app = typer.Typer()

_GPUS = "GPUs"
_SAMPLES = "Samples, before there is a token table"
_GB = 1e9


@app.command("plan", short_help="Predict memory, time and disk of training, before a job is sent.")
def plan(
    config: Annotated[Path, typer.Argument(help="YAML file; 'wmss init' writes examples.")],
    sets: options.Set = None,
    share: Annotated[
        float,
        typer.Option(
            "--share", min=0.01, max=1.0, help="Share of the GPUs' dense rate that is reached."
        ),
    ] = 0.4,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON to stdout.")] = False,
    profile: Annotated[
        str | None,
        typer.Option(
            "--profile",
            metavar="NAME",
            help="h800:8b, or a YAML file [launch.profile].",
            rich_help_panel=_GPUS,
        ),
    ] = None,
    nodes: Annotated[
        int | None,
        typer.Option("--nodes", min=1, help="In place of the profile's.", rich_help_panel=_GPUS),
    ] = None,
    gpus: Annotated[
        int | None,
        typer.Option("--gpus", min=1, help="All GPUs, without a profile.", rich_help_panel=_GPUS),
    ] = None,
    mem_gb: Annotated[
        float | None,
        typer.Option("--gpu-mem-gb", min=1.0, help="Memory of one GPU.", rich_help_panel=_GPUS),
    ] = None,
    tflops: Annotated[
        float | None,
        typer.Option(
            "--gpu-tflops",
            min=0.1,
            help="Dense bf16 TFLOP/s of one GPU, by its data sheet.",
            rich_help_panel=_GPUS,
        ),
    ] = None,
    samples: Annotated[
        int | None,
        typer.Option("--samples", min=1, help="How many there are.", rich_help_panel=_SAMPLES),
    ] = None,
    mean_tokens: Annotated[
        int | None,
        typer.Option("--mean-tokens", min=1, help="Of a sample.", rich_help_panel=_SAMPLES),
    ] = None,
    mean_completion_tokens: Annotated[
        int | None,
        typer.Option(
            "--mean-completion-tokens",
            min=1,
            help="Of a sample; all of them if left out.",
            rich_help_panel=_SAMPLES,
        ),
    ] = None,
) -> None:
    """Example: wmss plan qwen3-8b.yaml --samples 215000 --mean-tokens 4096

    For sft and joint-train: what each ZeRO stage holds on a GPU, the largest micro-batch that
    fits, FLOPs, hours, GPU-hours and disk space. The model's config.json and, if it is there, the
    run's token table are all it reads.
    """
    from wmss_cli.launch.forecast import forecast
    from wmss_cli.launch.forecast_inputs import gpus_of, workload
    from wmss_cli.launch.profile import load_profile

    given = {"launch.profile": ("--profile", profile)}
    resolved = options.configure(config, sets, given).config
    # With --gpus the machine is not the profile's.
    name = profile if gpus is not None else resolved.launch.profile
    machine = gpus_of(None if name is None else load_profile(name), nodes, gpus, mem_gb, tflops)
    work = workload(resolved, samples, mean_tokens, mean_completion_tokens)
    found = forecast(resolved, machine, work, share)
    if as_json:
        console.print_json(found.model_dump(mode="json"))
    else:
        _show(found)


def _show(found: Forecast) -> None:
    console.out.print(
        f"{found.gpus} GPUs of {found.gpu_mem_gb:g} GB, of which {found.usable_bytes / _GB:g} GB "
        f"are planned with, and {found.gpu_tflops:g} TFLOP/s.\n"
        f"{found.samples:,} samples of {found.mean_tokens:,.0f} tokens, "
        f"{found.mean_completion_tokens:,.0f} of them completion; from {found.samples_from}.",
        highlight=False,
        markup=False,
    )
    for training in found.trainings:
        console.out.print()
        console.out.print(_memory(training))
        console.out.print(_work(training, found))
        for warning in training.warnings:
            console.out.print(f"[yellow]{training.stage}:[/] ", end="", highlight=False)
            console.out.print(warning, markup=False, highlight=False, soft_wrap=True)


def _memory(training: TrainingForecast) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(
        title=f"{training.stage}: GB on each GPU, {training.precision}, micro-batches of "
        f"{training.micro_batch_tokens:,} tokens",
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )
    for name in (*MEMORY_COLUMNS, ""):
        table.add_column(name, justify="right", no_wrap=True)
    for row in training.zero:
        mark = "[green]fits[/]" if row.fits else "[red]no[/]"
        style = "bold" if row.zero_stage == training.use_zero_stage else None
        table.add_row(*memory_cells(row), mark, style=style)
    return table


MEMORY_COLUMNS = (
    *("ZeRO", "weights", "grads", "optim", "buffers", "batch", "step", "peak"),
    "largest",
)
"""Of :func:`memory_cells`: peak is the sum of the four before, and the larger of batch and step."""


def memory_cells(row: StageMemory) -> Sequence[str]:
    """Return what a table says of a ZeRO stage: GB, and the largest micro-batch in tokens."""
    sizes = (
        row.weights_bytes,
        row.gradients_bytes,
        row.optimizer_bytes,
        row.buffers_bytes,
        row.micro_batch_bytes,
        row.step_copies_bytes,
        row.peak_bytes,
    )
    largest = f"{row.largest_micro_batch_tokens:,}" if row.largest_micro_batch_tokens else "none"
    return [str(row.zero_stage), *(f"{size / _GB:.1f}" for size in sizes), largest]


def _work(training: TrainingForecast, found: Forecast) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column()
    for name, value in work_rows(training, found):
        table.add_row(name, value)
    return table


def work_rows(training: TrainingForecast, found: Forecast) -> Sequence[tuple[str, str]]:
    """Return what a table says of a training: names and values."""
    use = training.use_zero_stage
    flops = f"{training.flops:.2e}"
    if training.recomputed_flops:
        flops += f", and {training.recomputed_flops:.2e} recomputed"
    rows = [
        ("zero_stage", "none fits" if use is None else f"{use}; set is {training.zero_stage}"),
        ("work", f"{training.steps:,} steps, {training.tokens / 1e6:,.0f} M tokens"),
        ("FLOPs", flops),
        (
            f"time at {100 * found.share:.0f} %",
            f"{training.hours:,.1f} hours, {training.gpu_hours:,.0f} GPU-hours",
        ),
        (
            "disk",
            f"{training.disk_bytes / _GB:,.0f} GB, {training.checkpoint_bytes / _GB:,.0f} GB a "
            "checkpoint",
        ),
    ]
    if training.runs > 1:
        rows.append(("runs", f"{training.runs}, one for each iteration; all this is for one"))
    return rows
