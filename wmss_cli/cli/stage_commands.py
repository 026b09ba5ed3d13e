"""The commands that run one stage each."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from wmss_cli.cli import options
from wmss_cli.cli.running import run_stage
from wmss_cli.core.errors import ConfigError

if TYPE_CHECKING:
    from wmss_cli.core import config as c


app = typer.Typer()

ModelOption = Annotated[
    str | None,
    typer.Option("--model", "-m", help="Model folder, artifact of wmss, or hub id [model]."),
]
TokensOption = Annotated[
    Path, typer.Option("--tokens", "-t", help="Token table, written by 'wmss tokenize'.")
]
TaskDataOption = Annotated[
    str | None, typer.Option("--task-data", help="Folder with NAME.jsonl of each benchmark.")
]
RateOption = Annotated[float | None, typer.Option("--learning-rate", help="Peak learning rate.")]
ShardsOption = Annotated[int | None, typer.Option("--shards", help="Number of shards.")]
EpochsOption = Annotated[float | None, typer.Option("--epochs", help="Passes over the samples.")]


@app.command("curate", short_help="Keep the records whose answers are right.")
@options.spread
def curate(
    data: Annotated[
        list[str] | None,
        typer.Argument(help="Files, folders or data sets of the hub [data].", show_default=False),
    ] = None,
    decontaminate: Annotated[
        str | None,
        typer.Option(
            "--decontaminate",
            metavar="NAME,…",
            help="Benchmarks whose questions must not be trained on [decontaminate].",
        ),
    ] = None,
    task_data: TaskDataOption = None,
    workers: Annotated[
        int | None, typer.Option("--workers", help="Processes that check answers.")
    ] = None,
    shards: ShardsOption = None,
    shard: Annotated[
        int | None, typer.Option("--shard", help="Check only this shard, from 0; do not merge.")
    ] = None,
    processes: options.Processes = None,
    *,
    common: options.Common,
    launch: options.Launch,
) -> None:
    """Example: wmss curate am.jsonl.zst --out runs/a/curated

    Reads records (AM-1.4M, ShareGPT, or prompt and completion), keeps well-formed samples whose
    answer is right (compared by math-verify, or run against its tests in a sandbox), removes copies
    and near copies, and writes every rejected row's id and reason next to the kept ones, with a
    data card. Prints the folder.
    """
    from wmss_cli.data.sources import data_inputs
    from wmss_cli.evaluate.problems import check_problems
    from wmss_cli.evaluate.tasks import task_inputs

    resolved = _configure(
        common,
        launch,
        {
            "data": ("DATA", data),
            "decontaminate": ("--decontaminate", decontaminate and decontaminate.split(",")),
            "task_data": ("--task-data", task_data),
            "curate.workers": ("--workers", workers),
            "curate.shards": ("--shards", shards),
            "launch.processes": ("--processes", processes),
        },
    )
    if not resolved.data:
        raise ConfigError("no data: give files, or set data in the YAML file")
    benchmarks = task_inputs(resolved.decontaminate, resolved.task_data, {})
    check_problems(benchmarks)
    inputs = {**data_inputs(resolved.data), **benchmarks}
    run_stage(resolved, "curate", inputs, common, launch, shard=shard)


@app.command("tokenize", short_help="Render and tokenise the kept records, once for all stages.")
@options.spread
def tokenize(
    examples: Annotated[
        Path, typer.Option("--examples", "-e", help="Folder that 'wmss curate' wrote.")
    ],
    model: ModelOption = None,
    max_seq_len: Annotated[
        int | None, typer.Option("--max-seq-len", help="Longest sample, in tokens.")
    ] = None,
    *,
    common: options.Common,
    launch: options.Launch,
) -> None:
    """Example: wmss tokenize --examples runs/a/curated --model base --out runs/a/tokens

    Renders every sample with the model's chat template and the paper's system prompt, applies
    the length limit, and writes the token table that sft, score-entropy and joint-train read.
    """
    resolved = _configure(
        common,
        launch,
        {"model": ("--model", model), "tokenize.max_seq_len": ("--max-seq-len", max_seq_len)},
    )
    inputs = {"examples": str(examples), "model": _model(resolved.model, resolved)}
    run_stage(resolved, "tokenize", inputs, common, launch)


@app.command("sft", short_help="Fine-tune a model: M1 = SFT(M0, D).")
@options.spread
def sft(
    tokens: TokensOption,
    model: ModelOption = None,
    learning_rate: RateOption = None,
    epochs: EpochsOption = None,
    processes: options.Processes = None,
    *,
    common: options.Common,
    launch: options.Launch,
) -> None:
    """Example: wmss sft --model base --tokens runs/a/tokens --out runs/a/sft --epochs 1

    Writes OUT/model, a Hugging Face folder, and OUT/metrics.jsonl. If it is interrupted (Ctrl-C,
    SIGTERM, SIGUSR1, SIGUSR2), it saves, and the same command continues.
    """
    resolved = _configure(
        common,
        launch,
        {
            "model": ("--model", model),
            "sft.learning_rate": ("--learning-rate", learning_rate),
            "sft.epochs": ("--epochs", epochs),
            "launch.processes": ("--processes", processes),
        },
    )
    inputs = {"strong": _model(resolved.model, resolved), "tokens": str(tokens)}
    run_stage(resolved, "sft", inputs, common, launch)


@app.command("score-entropy", short_help="Score a model's entropy on every sample (Eq. 8).")
@options.spread
def score_entropy(
    tokens: TokensOption,
    model: ModelOption = None,
    shards: ShardsOption = None,
    shard: Annotated[
        int | None, typer.Option("--shard", help="Score only this shard, from 0; do not merge.")
    ] = None,
    processes: options.Processes = None,
    *,
    common: options.Common,
    launch: options.Launch,
) -> None:
    """Example: wmss score-entropy --model base --tokens runs/a/tokens --out runs/a/entropy-weak

    Computes the mean entropy (nats) of the distributions that predict each completion's tokens.
    Each shard is an artifact of its own; a second run scores only what is missing, then merges.
    """
    resolved = _configure(
        common,
        launch,
        {
            "model": ("--model", model),
            "score_entropy.shards": ("--shards", shards),
            "launch.processes": ("--processes", processes),
        },
    )
    inputs = {"model": _model(resolved.model, resolved), "tokens": str(tokens)}
    run_stage(resolved, "score_entropy", inputs, common, launch, shard=shard)


@app.command("build-curriculum", short_help="Weight the samples and draw the active set (Eq. 10).")
@options.spread
def build_curriculum(
    weak: Annotated[Path, typer.Option("--weak", help="Entropies of the weak model.")],
    strong: Annotated[Path, typer.Option("--strong", help="Entropies of the strong model.")],
    alpha: Annotated[float | None, typer.Option(help="Weight of the weak entropy.")] = None,
    beta: Annotated[float | None, typer.Option(help="Weight of falling entropy.")] = None,
    gamma: Annotated[float | None, typer.Option(help="Weight of rising entropy.")] = None,
    *,
    common: options.Common,
    launch: options.Launch,
) -> None:
    """Example: wmss build-curriculum --weak runs/a/entropy-weak --strong runs/a/entropy-strong

    Reports the effective sample size, the unique samples, and the share that each of the three
    terms contributes. All-zero weights are an error.
    """
    resolved = _configure(
        common,
        launch,
        {
            "curriculum.alpha": ("--alpha", alpha),
            "curriculum.beta": ("--beta", beta),
            "curriculum.gamma": ("--gamma", gamma),
        },
    )
    inputs = {"weak": str(weak), "strong": str(strong)}
    run_stage(resolved, "build_curriculum", inputs, common, launch)


@app.command(
    "joint-train", short_help="Train the strong model on logits mixed with the weak one's."
)
@options.spread
def joint_train(
    tokens: TokensOption,
    strong: Annotated[str, typer.Option("--strong", help="The model to improve, M_t.")],
    weak: Annotated[
        str | None, typer.Option("--weak", help="The weaker checkpoint, M_{t-1}.")
    ] = None,
    active: Annotated[
        Path | None,
        typer.Option(
            "--active", help="Folder that 'wmss build-curriculum' wrote; else every sample once."
        ),
    ] = None,
    mix_lambda: Annotated[
        float | None, typer.Option("--mix-lambda", help="Share of the strong logits.")
    ] = None,
    weak_mode: Annotated[
        Literal["cotrain", "frozen"] | None,
        typer.Option("--weak-mode", help="Whether the weak model learns too."),
    ] = None,
    learning_rate: RateOption = None,
    epochs: EpochsOption = None,
    processes: options.Processes = None,
    *,
    common: options.Common,
    launch: options.Launch,
) -> None:
    """Example: wmss joint-train --weak base --strong runs/a/sft -t runs/a/tokens --out runs/a/wmss

    Writes OUT/model, the strong model alone, as a Hugging Face folder, and OUT/weak if the weak one
    was co-trained. If it is interrupted, it saves, and the same command continues.
    """
    resolved = _configure(
        common,
        launch,
        {
            "joint.mix_lambda": ("--mix-lambda", mix_lambda),
            "joint.weak_mode": ("--weak-mode", weak_mode),
            "joint.learning_rate": ("--learning-rate", learning_rate),
            "joint.epochs": ("--epochs", epochs),
            "launch.processes": ("--processes", processes),
        },
    )
    inputs = {"strong": _model(strong, resolved), "tokens": str(tokens)}
    if weak is not None:
        inputs["weak"] = _model(weak, resolved)
    if active is not None:
        inputs["active"] = str(active)
    run_stage(resolved, "joint_train", inputs, common, launch)


@app.command("eval", short_help="Answer and grade the problems of benchmarks.")
@options.spread
def evaluate(
    tasks: Annotated[
        str | None,
        typer.Option(
            "--tasks", metavar="NAME,…", help="Benchmarks, or YAML files of your own [tasks]."
        ),
    ] = None,
    task_data: TaskDataOption = None,
    files: Annotated[
        list[str] | None,
        typer.Option("--task", metavar="NAME=FILE", help="A file of problems [eval_files]."),
    ] = None,
    model: ModelOption = None,
    max_new_tokens: Annotated[
        int | None, typer.Option("--max-new-tokens", help="Longest answer to any task, in tokens.")
    ] = None,
    samples: Annotated[int | None, typer.Option("--samples", help="Answers per problem.")] = None,
    temperature: Annotated[
        float | None, typer.Option("--temperature", help="Sampling temperature; 0 is greedy.")
    ] = None,
    limit: Annotated[
        int | None, typer.Option("--limit", help="Only the first problems of each task.")
    ] = None,
    shards: ShardsOption = None,
    shard: Annotated[
        int | None, typer.Option("--shard", help="Answer only this shard, from 0; do not merge.")
    ] = None,
    processes: options.Processes = None,
    *,
    common: options.Common,
    launch: options.Launch,
) -> None:
    """Example: wmss eval -m runs/a/wmss --tasks gsm8k --task-data benchmarks --out runs/a/eval

    Writes one graded row per answer to OUT/generations.parquet, and reports each task's accuracy
    with its 95 % interval. Greedy by default; with --samples and --temperature also mean@n, pass@k
    and maj@k. An interrupted run continues after the last answer.
    """
    from wmss_cli.evaluate.problems import check_problems
    from wmss_cli.evaluate.tasks import task_inputs

    named = dict(_split_task(file) for file in files or [])
    resolved = _configure(
        common,
        launch,
        {
            "model": ("--model", model),
            "tasks": ("--tasks", tasks.split(",") if tasks else None),
            "task_data": ("--task-data", task_data),
            "eval_files": ("--task", named or None),
            "eval.samples": ("--samples", samples),
            "eval.temperature": ("--temperature", temperature),
            "eval.max_new_tokens": ("--max-new-tokens", max_new_tokens),
            "eval.limit": ("--limit", limit),
            "eval.shards": ("--shards", shards),
            "launch.processes": ("--processes", processes),
        },
    )
    asked = task_inputs(resolved.tasks, resolved.task_data, resolved.eval_files)
    if not asked:
        raise ConfigError("no problems: give --tasks NAME or --task NAME=FILE")
    check_problems(asked, resolved.eval.limit)
    inputs = {"model": _model(resolved.model, resolved), **asked}
    run_stage(resolved, "eval", inputs, common, launch, shard=shard)


def _split_task(task: str) -> tuple[str, str]:
    name, equals, path = task.partition("=")
    if not equals or not name or not path:
        raise ConfigError(f"--task {task}: expected NAME=FILE, as in gsm8k=gsm8k.jsonl")
    return name, path


def _model(reference: str | None, resolved: c.Config) -> str:
    from wmss_cli.models.folder import find_model

    if reference is None:
        raise ConfigError("no model: give --model, or set model in the YAML file")
    if resolved.launch.cluster == "slurm":
        from wmss_cli.slurm.makers import model_to_come

        coming = model_to_come(reference)
        if coming is not None:
            return str(coming)
    return str(find_model(reference))


def _configure(
    common: options.Common, launch: options.Launch, own: Mapping[str, tuple[str, Any]]
) -> c.Config:
    return options.configure(common.config, common.sets, {**own, **launch.settings}).config
