"""The command that predicts what a study needs: plan."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from wmss_cli.cli import console, options
from wmss_cli.core.selection import Selection

app = typer.Typer()

_GPUS = "GPUs"
_SAMPLES = "Samples, if there is no token table; default: those of AM-1.4M"
_ANSWERS = "Evaluation"


@app.command("plan", short_help="Predict memory, cost and power of a study before any job is sent.")
@options.spread
def plan(
    config: Annotated[Path, typer.Argument(help="YAML file; 'wmss init' writes examples.")],
    sets: options.Set = None,
    mfu: Annotated[
        float | None,
        typer.Option(
            "--mfu",
            min=0.01,
            max=1.0,
            help="MFU of a training step, from a metrics.jsonl of yours. Default: computed.",
        ),
    ] = None,
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
        typer.Option(
            "--nodes", min=1, help="Overrides the profile's value.", rich_help_panel=_GPUS
        ),
    ] = None,
    gpus: Annotated[
        int | None,
        typer.Option(
            "--gpus",
            min=1,
            help="Number of GPUs of one machine, instead of nodes.",
            rich_help_panel=_GPUS,
        ),
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
            help="Dense bf16 TFLOP/s of one GPU, from its data sheet.",
            rich_help_panel=_GPUS,
        ),
    ] = None,
    samples: Annotated[
        int | None,
        typer.Option("--samples", min=1, help="Number of samples.", rich_help_panel=_SAMPLES),
    ] = None,
    mean_tokens: Annotated[
        int | None,
        typer.Option(
            "--mean-tokens", min=1, help="Mean tokens per sample.", rich_help_panel=_SAMPLES
        ),
    ] = None,
    mean_completion_tokens: Annotated[
        int | None,
        typer.Option(
            "--mean-completion-tokens",
            min=1,
            help="Mean tokens per completion. Default: all of --mean-tokens.",
            rich_help_panel=_SAMPLES,
        ),
    ] = None,
    mean_answer_tokens: Annotated[
        int | None,
        typer.Option(
            "--mean-answer-tokens",
            min=1,
            help="Mean tokens per answer, cut at each task's limit. Default: as for a completion.",
            rich_help_panel=_ANSWERS,
        ),
    ] = None,
    problems: Annotated[
        int | None,
        typer.Option(
            "--problems",
            min=1,
            help="Problems of each task, where their number is not known yet. Default: 500.",
            rich_help_panel=_ANSWERS,
        ),
    ] = None,
    generation_share: Annotated[
        float,
        typer.Option(
            "--generation-share",
            min=0.001,
            max=1.0,
            help="Expected fraction of peak FLOP/s while answers are written.",
            rich_help_panel=_ANSWERS,
        ),
    ] = 0.05,
    *,
    selection: Selection,
) -> None:
    """Example: wmss plan qwen3-8b.yaml --samples 215000 --mean-tokens 4096

    For sft and joint-train: the memory that each ZeRO stage needs on a GPU, the largest micro-batch
    that fits, time, MFU and disk space. For the study: the GPU-hours of each arm alone, those that
    it adds to the others, and the total; the smallest difference that the study can find; and the
    hours of the whole pipeline, by stage. It reads the models' config.json, the run's token table
    and the tasks, if they exist; what is missing is assumed, and the output says so.
    """
    from wmss_cli.cli import plan_tables
    from wmss_cli.preflight.forecast import forecast
    from wmss_cli.preflight.inputs import Rates, answers_of, gpus_of
    from wmss_cli.preflight.workload import workload
    from wmss_cli.slurm.profile import load_profile

    given = options.configure(config, sets, {"launch.profile": ("--profile", profile)})
    resolved = given.config
    # With --gpus the machine is not the profile's.
    name = profile if gpus is not None else resolved.launch.profile
    machine = gpus_of(None if name is None else load_profile(name), nodes, gpus, mem_gb, tflops)
    work = workload(resolved, samples, mean_tokens, mean_completion_tokens)
    answers = answers_of(resolved, work, mean_answer_tokens, problems)
    rates = Rates(mfu, generation=generation_share)
    with given.located():
        found = forecast(resolved, machine, work, answers, rates, selection)
    if as_json:
        console.print_json(found.model_dump(mode="json"))
    else:
        plan_tables.show(found)
