"""The commands that read existing answers: wmss grade, wmss compare, wmss report."""

from __future__ import annotations

import shlex
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich import box
from rich.table import Table

from wmss_cli.cli import console, options
from wmss_cli.cli.running import run_stage

if TYPE_CHECKING:
    from wmss_cli.results.comparison import ModelComparison, SeedComparison

app = typer.Typer()


@app.command("grade", short_help="Grade existing answers again; nothing is generated.")
@options.spread
def grade(
    answers: Annotated[Path, typer.Argument(help="Folder that 'wmss eval' wrote.")],
    *,
    common: options.Common,
    launch: options.Launch,
) -> None:
    """Example: wmss grade runs/a/eval-wmss --out runs/a/eval-wmss-regraded

    Reads the tasks that the answers belong to, and writes the same answers with the verdicts of the
    current graders.
    """
    from wmss_cli.core.config import GradeConfig
    from wmss_cli.core.manifest import read_manifest
    from wmss_cli.evaluate.tasks import SPEC_ROLE, TASK_ROLE

    resolved = options.configure(common.config, common.sets, launch.settings).config
    section = GradeConfig(
        verify_timeout_s=resolved.eval.verify_timeout_s,
        workers=resolved.eval.workers,
        unsafe_programs=resolved.eval.unsafe_programs,
    )
    inputs = {
        role: source.path
        for role, source in read_manifest(answers).inputs.items()
        if role.startswith((TASK_ROLE, SPEC_ROLE))
    }
    inputs["answers"] = str(answers)
    run_stage(resolved, "grade", inputs, common, launch, section=section)


@app.command("compare", short_help="Test whether two models or arms differ by more than noise.")
def compare(
    first: Annotated[
        str,
        typer.Argument(
            metavar="FIRST[,FIRST…]",
            help="What 'wmss eval' or 'wmss grade' wrote; separate several seeds of an arm by "
            "commas.",
            show_default=False,
        ),
    ],
    second: Annotated[
        str,
        typer.Argument(
            metavar="SECOND[,SECOND…]",
            help="The same of another model or arm, on the same problems.",
            show_default=False,
        ),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON to stdout.")] = False,
) -> None:
    """Example: wmss compare runs/a/eval-sft runs/a/eval-wmss

    Compares problem by problem: the exact McNemar test if each has one answer, otherwise a
    sign-flip test. The interval covers the problems and says nothing about other seeds.

    With several seeds of each arm, as in 'wmss compare a/s0,a/s1,a/s2 b/s0,b/s1,b/s2', it pairs by
    problem and seed, and the interval and p cover both. Seeds are paired by what their trainings
    recorded, otherwise by order; a model that does not depend on a seed is compared with each seed
    of the other.

    Over several tasks, p is corrected by Holm's method.
    """
    from wmss_cli.results.comparison import compare as compare_shares
    from wmss_cli.results.comparison import compare_seeds, read_shares
    from wmss_cli.results.evaluations import open_evaluation, paired_by_seed

    sides = [_folders(text) for text in (first, second)]
    if len(sides[0]) == len(sides[1]) == 1:
        rows = compare_shares(*(read_shares(folder) for (folder,) in sides))
        if as_json:
            console.print_json([_plain(row) for row in rows])
        else:
            console.out.print(_table(rows))
        return
    arms = paired_by_seed(*([open_evaluation(folder) for folder in side] for side in sides))
    found = compare_seeds(
        *({str(one.folder): read_shares(one.folder) for one in arm} for arm in arms)
    )
    if as_json:
        console.print_json([_plain(row) for row in found])
    else:
        console.out.print(_seed_table(found))


@app.command("report", short_help="Write a page about a study, or about evaluations.")
def report(
    runs: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN_DIR|[NAME=]FOLDER[,FOLDER…]…",
            help="Folder of 'wmss run', finished or not; or what 'wmss eval' or 'wmss grade' "
            "wrote, with several seeds of an arm after its name.",
            show_default=False,
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write.")] = Path("report"),
    most: Annotated[
        int,
        typer.Option("--examples", min=0, help="How many problems of each task to show at most."),
    ] = 20,
) -> None:
    """Example: wmss report runs/study --out report

    Writes report.html, which needs no other file, report.md, tables/*.tex and results.json. The
    page begins with the answer: which arms differ from the reference by more than noise.
    Evaluations are compared with the first one named; names such as wmss@1 are epochs of wmss.
    """
    from wmss_cli.core.manifest import MANIFEST
    from wmss_cli.results.evaluations import gather
    from wmss_cli.results.study import STUDY_FILE
    from wmss_cli.stages.report import read_study, write

    folder = Path(runs[0])
    if len(runs) == 1 and (folder / STUDY_FILE).is_file() and not (folder / MANIFEST).is_file():
        record = read_study(folder)
        study, artifacts, commands = record.study, record.artifacts, record.commands
        failures = _failures(folder)
    else:
        study, artifacts = gather(runs)
        commands = [f"wmss report {' '.join(map(shlex.quote, runs))}"]
        failures = {}
    write(study, artifacts, out, commands, most, failures)
    console.print_line(str(out / "report.html"))


def _failures(run_dir: Path) -> dict[str, str]:
    """Return why stages of a run failed on a cluster; empty if none was sent to one."""
    from wmss_cli.slurm.ledger import Ledger
    from wmss_cli.slurm.status import run_status

    ledger = Ledger(run_dir)
    if not ledger.has_plan():
        return {}
    stages = run_status(ledger).stages
    return {stage.label: stage.failure.why for stage in stages if stage.failure is not None}


def _folders(text: str) -> list[Path]:
    # A path may contain a comma.
    return [Path(text)] if Path(text).exists() else [Path(part) for part in text.split(",")]


def _plain(row: ModelComparison | SeedComparison) -> dict[str, Any]:
    return {**asdict(row), "is_significant": row.is_significant}


def _table(rows: list[ModelComparison]) -> Table:
    table = Table(
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        caption="change: second minus first, in points; real: p < 0.05",
        caption_justify="left",
    )
    table.add_column("task", overflow="fold")
    for name in ("n", "first", "second", "change", "95 %", "p", "real"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        d = row.difference
        table.add_row(
            row.task,
            f"{d.n:,}",
            f"{100 * row.first:.1f}",
            f"{100 * row.second:.1f}",
            f"{100 * d.mean:+.1f}",
            f"{100 * d.low:+.1f} to {100 * d.high:+.1f}",
            _p(row.p),
            "yes" if row.is_significant else "no",
        )
    return table


def _seed_table(rows: list[SeedComparison]) -> Table:
    seeds = rows[0].difference.seeds
    table = Table(
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        caption=f"{seeds} seeds; change: second minus first, in points, with an interval that "
        "covers problems and seeds; won: seeds in which second is better; real: p < 0.05",
        caption_justify="left",
    )
    table.add_column("task", overflow="fold")
    for name in ("n", "first", "second", "change", "95 %", "p", "won", "real"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        d = row.difference
        table.add_row(
            row.task,
            f"{d.problems:,}",
            f"{100 * row.first.mean:.1f}",
            f"{100 * row.second.mean:.1f}",
            f"{100 * d.mean:+.1f}",
            f"{100 * d.low:+.1f} to {100 * d.high:+.1f}",
            _p(row.p),
            f"{d.seeds_won}",
            "yes" if row.is_significant else "no",
        )
    return table


def _p(p: float) -> str:
    return f"{p:.3f}" if p >= 0.001 else "< 0.001"
