"""What `wmss plan` shows a person: memory and work of trainings, the study, its power."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich import box
from rich.table import Table

from wmss_cli.cli import console
from wmss_cli.cli.display import number

if TYPE_CHECKING:
    from wmss_cli.preflight.forecast import Forecast, TrainingForecast
    from wmss_cli.preflight.memory import StageMemory
    from wmss_cli.preflight.power import Detectable, PowerForecast
    from wmss_cli.preflight.study_costs import PipelineTime, StudyForecast

MEMORY_COLUMNS = (
    *("ZeRO", "weights", "grads", "optim", "buffers", "batch", "step", "peak"),
    "largest",
)
"""Of :func:`memory_cells`: peak is the sum of the four before, and the larger of batch and step."""
STUDY_COLUMNS = ("arm", "trainings", "steps", "FLOPs", "GPU-hours alone", "added")
STAGE_COLUMNS = ("stage", "steps", "GPU-hours", "longest step", "on the longest path")
"""Of :func:`stage_rows`; the last two are hours by the clock."""
POWER_COLUMNS = ("benchmark", "problems", "one comparison", "corrected")

TOLD_APART = 0.05
"""A benchmark that cannot show a difference this large is named."""
_GB = 1e9


def show(found: Forecast) -> None:
    """Print a forecast."""
    _say(
        f"{number(found.gpus, 'GPU')} of {found.gpu_mem_gb:g} GB, of which "
        f"{found.usable_bytes / _GB:g} GB are planned for use, and {found.gpu_tflops:g} TFLOP/s.\n"
        f"{found.samples:,} samples of {found.mean_tokens:,.0f} tokens, "
        f"{found.mean_completion_tokens:,.0f} of them completion; from {found.samples_from}."
    )
    for line in found.assumed:
        _say(f"assumed: {line}.")
    for training in found.trainings:
        console.out.print()
        console.out.print(_memory(training))
        console.out.print(_work(training, found))
        for warning in training.warnings:
            _warn(_name(training), warning)
    console.out.print()
    _show_study(found.study, found)
    for warning in found.warnings:
        label, _, text = warning.partition(": ")
        _warn(label, text)
    if found.power is not None:
        console.out.print()
        _show_power(found.power)
    console.out.print()
    _show_pipeline(found.study.pipeline, found.gpus)


def _say(text: str) -> None:
    console.out.print(text, highlight=False, markup=False)


def _warn(name: str, text: str) -> None:
    console.out.print(f"[yellow]{name}:[/] ", end="", highlight=False)
    console.out.print(text, markup=False, highlight=False, soft_wrap=True)


def _name(training: TrainingForecast) -> str:
    return f"{training.model}/{training.stage}" if training.model else training.stage


def _table(title: str, columns: Sequence[str], text_columns: int = 0) -> Table:
    """Return a table whose first columns are text, and the others numbers."""
    table = Table(
        title=title,
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 0, 0, 1),
    )
    for place, name in enumerate(columns):
        table.add_column(name, justify="left" if place < text_columns else "right", no_wrap=True)
    return table


def _memory(training: TrainingForecast) -> Table:
    table = _table(
        f"{_name(training)}: GB on each GPU, {training.precision}, micro-batches of "
        f"{training.micro_batch_tokens:,} tokens",
        (*MEMORY_COLUMNS, "fits"),
    )
    for row in training.zero:
        mark = "[green]yes[/]" if row.fits else "[red]no[/]"
        style = "bold" if row.zero_stage == training.use_zero_stage else None
        table.add_row(*memory_cells(row), mark, style=style)
    return table


def memory_cells(row: StageMemory) -> Sequence[str]:
    """Return the table's cells for a ZeRO stage: GB, and the largest micro-batch in tokens."""
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
    table = Table(box=box.SIMPLE_HEAD, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column()
    for name, value in work_rows(training, found):
        table.add_row(name, value)
    return table


def work_rows(training: TrainingForecast, found: Forecast) -> Sequence[tuple[str, str]]:
    """Return the table's rows for a training: names and values."""
    use = training.use_zero_stage
    lowest = "none fits" if use is None else f"{use} is the lowest that fits"
    flops, mfu = f"{training.flops:.2e}", f"{100 * training.mfu:.0f} %"
    if training.recomputed_flops:
        flops += f", and {training.recomputed_flops:.2e} recomputed"
        mfu += f"; {100 * training.mfu_with_recomputation:.0f} % with recomputation"
    rows = [
        ("zero_stage", f"{lowest}; configured is {training.zero_stage}"),
        (
            "work",
            f"{training.steps:,} steps of {training.passes_per_step:.1f} passes, "
            f"{training.tokens / 1e6:,.0f} M tokens",
        ),
        ("FLOPs", flops),
        ("time", f"{amount(training.hours)} hours, {amount(training.gpu_hours)} GPU-hours"),
        ("of which", _parts(training, found)),
        ("MFU", f"{mfu}, as given" if found.mfu is not None else mfu),
        (
            "disk",
            f"{training.disk_bytes / _GB:,.0f} GB, {training.checkpoint_bytes / _GB:,.0f} GB per "
            "checkpoint",
        ),
        ("saving", f"a Slurm job is told {training.signal_lead_s} s before its limit"),
    ]
    if training.runs > 1:
        rows.append(("runs", f"{training.runs}, one for each iteration; these values are for one"))
    return rows


def _parts(training: TrainingForecast, found: Forecast) -> str:
    """Say where the time of a training goes."""
    steps = [
        (training.computing_hours, "products"),
        (training.waiting_hours, "waiting for the fullest rank"),
        (training.communication_hours, "communication"),
    ]
    if found.mfu is not None:
        steps = [(training.computing_hours, "steps")]
    parts = [*steps, (training.saving_hours, "saving")]
    return ", ".join(f"{amount(hours)} {name}" for hours, name in parts)


def _show_pipeline(pipeline: PipelineTime, gpus: int) -> None:
    table = _table("The whole pipeline", STAGE_COLUMNS, text_columns=1)
    *rows, last = stage_rows(pipeline)
    for row in rows:
        table.add_row(*row)
    table.add_section()
    table.add_row(*last, style="bold")
    console.out.print(table)
    _say(
        f"{amount(pipeline.gpu_hours)} GPU-hours. From start to end it takes "
        f"{amount(pipeline.path_hours)} hours, if everything that can run at the same time does; "
        f"one step after another, each training on {gpus} GPUs, it takes "
        f"{amount(pipeline.serial_hours)} hours. Waiting in the queue is not included."
    )


def stage_rows(pipeline: PipelineTime) -> list[list[str]]:
    """Return a row for each stage, and one for all."""
    rows = [
        [
            line.stage,
            f"{line.steps:,}",
            amount(line.gpu_hours) if line.gpu_hours else "",
            amount(line.longest_hours) if line.longest_hours else "minutes",
            amount(line.path_hours) if line.path_hours else "",
        ]
        for line in pipeline.stages
    ]
    steps = sum(line.steps for line in pipeline.stages)
    return [
        *rows,
        ["all", f"{steps:,}", amount(pipeline.gpu_hours), "", amount(pipeline.path_hours)],
    ]


def _show_study(study: StudyForecast, found: Forecast) -> None:
    sizes = [(len(study.arms), "arm"), (max(1, len(study.seeds)), "seed")]
    sizes.append((len(study.models), "base model"))
    counted = ", ".join(f"{count} {name}{'s' * (count != 1)}" for count, name in sizes)
    table = _table(f"The study: {counted}", STUDY_COLUMNS, text_columns=1)
    rows = study_rows(study)
    for row in rows[:-1]:
        table.add_row(*row)
    table.add_section()
    table.add_row(*rows[-1], style="bold")
    console.out.print(table)
    kinds = ", ".join(f"{kind} {_percent(study, hours)}" for kind, hours in study.kinds.items())
    _say(f"GPU-hours: {kinds}.")
    _say(
        f"FLOP/s: {100 * found.computing_share:g} % of the data sheet's rate while a pass "
        f"computes, {100 * study.generation_share:g} % while answers are written."
    )
    if study.problems:
        times = "once" if study.samples == 1 else f"{study.samples} times"
        _say(
            f"Each model answers {sum(study.problems.values()):,} problems {times}. An answer has "
            f"{study.mean_answer_tokens:,} tokens, or the task's limit if that is less; a "
            f"prompt has {study.mean_prompt_tokens:,}."
        )
    else:
        _say("No tasks or eval_files are named: evaluation is not priced.")


def study_rows(study: StudyForecast) -> list[list[str]]:
    """Return a row for each arm, for what several arms share, and for all."""
    rows = [
        [
            arm.arm,
            f"{arm.trainings:,}",
            f"{arm.steps:,}",
            f"{arm.flops:.1e}",
            amount(arm.gpu_hours),
            amount(arm.added_gpu_hours),
        ]
        for arm in study.arms
    ]
    if study.shared_gpu_hours:
        rows.append(["(shared)", "", "", "", "", amount(study.shared_gpu_hours)])
    total = [f"{study.trainings:,}", f"{study.steps:,}", f"{study.flops:.1e}", ""]
    return [*rows, ["all", *total, amount(study.gpu_hours)]]


def _percent(study: StudyForecast, hours: float) -> str:
    return f"{100 * hours / study.gpu_hours:.0f} %" if study.gpu_hours else "0 %"


def amount(value: float) -> str:
    """Return hours with as many digits as an estimate deserves."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 1 else f"{value:.2g}"


def _show_power(power: PowerForecast) -> None:
    console.out.print(
        f"[bold]Smallest difference from {power.reference} that is found with "
        f"{100 * power.power:.0f} % power, in points[/]",
        highlight=False,
    )
    # One comparison needs no correction.
    columns = len(POWER_COLUMNS) - (power.comparisons == 1)
    table = _table("", POWER_COLUMNS[:columns], text_columns=1)
    for row in power_rows(power):
        table.add_row(*row[:columns])
    console.out.print(table)
    _say(power_assumptions(power))
    for line in too_small(power):
        _say(line)


def power_rows(power: PowerForecast) -> list[list[str]]:
    """Return a row for each benchmark, and for the mean over several."""
    rows = [[name, *_detectable(found)] for name, found in power.tasks.items()]
    return rows if len(rows) == 1 else [*rows, ["mean of tasks", *_detectable(power.mean)]]


def _detectable(found: Detectable) -> list[str]:
    points = [
        "none" if difference is None else f"{100 * difference:.1f}"
        for difference in (found.alone, found.corrected)
    ]
    return [f"{found.problems:,}", *points]


def power_assumptions(power: PowerForecast) -> str:
    """Return the assumptions behind the smallest differences, in a few sentences."""
    assumed = power.assumptions
    spread = 100 * assumed["seed_sd"]
    seeds = (
        "one seed, so the spread over seeds is not covered"
        if power.seeds == 1
        else f"{power.seeds} seeds, over which an arm's accuracy has a standard deviation of "
        f"{spread:g} point{'s' * (spread != 1)}"
    )
    answers = "one answer" if power.samples == 1 else f"{power.samples} answers"
    level = "Two-sided tests at level 0.05."
    if power.comparisons > 1:
        level = (
            f"One comparison is tested at level 0.05; corrected, at {power.corrected_level:.2g}: "
            f"0.05 over {power.comparisons} comparisons, Holm's strictest step."
        )
    return (
        f"{level} Assumed: accuracy {assumed['accuracy']:g}, a correlation of "
        f"{assumed['other_arm']:g} between two arms' answers, {answers} to each problem, {seeds}."
    )


def too_small(power: PowerForecast) -> list[str]:
    """Return sentences on what cannot show a difference of :data:`TOLD_APART`, if any."""
    points = f"A difference of {100 * TOLD_APART:.0f} points"
    lines = []
    small = [
        f"{name} ({found.problems:,} problems)"
        for name, found in power.tasks.items()
        if _is_beyond(found.alone)
    ]
    if small:
        on = "any single benchmark" if 1 < len(small) == len(power.tasks) else ", ".join(small)
        lines.append(f"{points} cannot be shown on {on}, even as the only comparison.")
    if len(power.tasks) > 1 and _is_beyond(power.mean.alone):
        lines.append(f"{points} in the mean of tasks cannot be shown; more seeds help.")
    elif len(power.tasks) > 1 and _is_beyond(power.mean.corrected):
        lines.append(
            f"{points} in the mean of tasks can be shown as the only comparison, but not as one of "
            f"{power.comparisons}; more seeds or fewer arms help."
        )
    return lines


def _is_beyond(difference: float | None) -> bool:
    return difference is None or difference > TOLD_APART
