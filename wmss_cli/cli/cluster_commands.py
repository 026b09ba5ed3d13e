"""The commands that look after submitted runs: status, logs, cancel, retry, runs."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wmss_cli.cli import console, options
from wmss_cli.cli.display import Display, number, verb
from wmss_cli.core.errors import ConfigError
from wmss_cli.core.selection import Selection

if TYPE_CHECKING:
    from wmss_cli.stages.plan import Step

app = typer.Typer()

RunName = Annotated[
    str | None,
    typer.Argument(help="Folder or name of a run; the newest if left out.", show_default=False),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON to stdout.")]


@app.command("status", short_help="Show the state of a submitted run.")
@options.spread
def status(
    run: RunName = None,
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Repeat until the run ends.")
    ] = False,
    as_json: Json = False,
    all_: Annotated[
        bool, typer.Option("--all", help="A row for each stage, even of a large study.")
    ] = False,
    *,
    selection: Selection,
) -> None:
    """Example: wmss status my-run --watch

    Shows stages, jobs and arrays; step, loss and speed from the stage's own heartbeat; Slurm's
    estimated start of waiting jobs; GPU-hours and efficiency of jobs that ended; and for a failure,
    the end of its log and the command that fixes it. A large study is shown as a table of arms and
    seeds.
    """
    from wmss_cli.cli import following, status_table
    from wmss_cli.slurm.runs import find_run
    from wmss_cli.slurm.status import run_status

    ledger = find_run(run)
    if watch and not as_json:
        try:
            found = following.watch(ledger.run_dir, Display(console.err), selection)
        except KeyboardInterrupt:
            return
        if console.err.is_terminal:
            if found.state == "done":
                _show_findings(ledger.read_plan().steps())
            return
    else:
        found = run_status(ledger, selection)
    if as_json:
        console.print_json(found.model_dump(mode="json"))
    else:
        status_table.show(found, console.out, whole=all_ or not selection.is_whole)
        if found.state == "done":
            _show_findings(ledger.read_plan().steps())


def _show_findings(steps: Sequence[Step]) -> None:
    """Print the accuracies of a finished study, and where its page is."""
    from wmss_cli.cli import tables
    from wmss_cli.results.findings import Findings

    for step in steps:
        file = Path(step.job.out) / "results.json"
        if step.job.stage == "report" and file.is_file():
            study = Findings.model_validate(json.loads(file.read_text(encoding="utf-8")))
            console.out.print(tables.accuracies(study), highlight=False)
            for line in tables.places(study, file.parent):
                console.print_line(line)


@app.command("logs", short_help="Show the log of a stage's job.")
@options.spread
def logs(
    run: Annotated[str, typer.Argument(help="Folder or name of a run.")],
    stage: Annotated[
        str | None,
        typer.Argument(
            help="A stage as 'wmss status' names it; the training of --arm if left out.",
            show_default=False,
        ),
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Keep printing until the job ends, or Ctrl-C.")
    ] = False,
    rank: Annotated[int, typer.Option("--rank", help="Rank of a training process.")] = 0,
    task: Annotated[
        int | None, typer.Option("--task", help="Shard of an array; a failed one if left out.")
    ] = None,
    lines: Annotated[int, typer.Option("--lines", "-n", help="How many lines from the end.")] = 50,
    *,
    selection: Selection,
) -> None:
    """Example: wmss logs my-run wmss --seed 1 --follow

    Prints the log of the newest job of a stage.
    """
    from wmss_cli.slurm.deaths import tail
    from wmss_cli.slurm.logs import find_log, find_stage, follow_log
    from wmss_cli.slurm.runs import find_run

    ledger = find_run(run)
    label = find_stage(ledger, stage, selection)
    log = find_log(ledger, label, rank, task)
    console.err.print(str(log), markup=False, highlight=False, soft_wrap=True)
    for line in tail(log, lines):
        console.print_line(line)
    if follow:
        try:
            for line in follow_log(log):
                console.print_line(line)
        except KeyboardInterrupt:
            return


@app.command("cancel", short_help="Cancel the waiting and running jobs of a run.")
@options.spread
def cancel(
    run: Annotated[str, typer.Argument(help="Folder or name of a run.")],
    stages: Annotated[
        list[str] | None, typer.Argument(help="Only these stages.", show_default=False)
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")] = False,
    *,
    selection: Selection,
) -> None:
    """Example: wmss cancel my-run --arm wmss --seed 1

    Training saves first, if Slurm gives it the time; 'wmss retry' continues from there. With --arm
    or --seed, only jobs that nothing else in the study needs are cancelled.
    """
    from wmss_cli.slurm.runs import active_jobs, cancel, find_run, later_jobs
    from wmss_cli.stages.plan import only_of

    ledger = find_run(run)
    wanted = list(stages or [])
    if not selection.is_whole:
        plan = ledger.read_plan().steps()
        own = only_of(plan, selection)
        wanted = [step.label for step in own if not wanted or step.label in wanted]
        if not wanted:
            console.err.print("The rest of the study needs all of these; nothing is cancelled.")
            return
    jobs, later = active_jobs(ledger, wanted), later_jobs(ledger, wanted)
    if not jobs and not later:
        console.err.print("No job waits or runs.")
        return
    what = ", ".join(f"{job.stage} ({job.job_id})" for job in jobs)
    more = f", and {len(later)} that {verb(len(later))} not sent yet" if later else ""
    asked = f"Cancel {number(len(jobs), 'job')}{': ' if jobs else ''}{what}{more}?"
    if not yes and not typer.confirm(asked, err=True):
        raise typer.Exit(1)
    cancel(ledger, jobs, later)
    said = (
        f"Cancelled {number(len(jobs), 'job')}{more}. 'wmss retry {shlex.quote(run)}' continues "
        "the run."
    )
    console.err.print(said, markup=False, highlight=False, soft_wrap=True)


@app.command("retry", short_help="Submit again what failed, and what depends on it.")
@options.spread
def retry(
    run: RunName = None,
    as_json: Json = False,
    *,
    selection: Selection,
    launch: options.Launch,
) -> None:
    """Example: wmss retry my-run --slurm train.time_limit_min=2880

    Only failed and missing shards are done again. Jobs that wait or run are left alone, unless they
    wait for something that failed. The run's own profile is used, unless one is given.
    """
    from wmss_cli.cli.submitting import resubmit
    from wmss_cli.slurm.runs import find_run

    if launch.cluster == "local":
        raise ConfigError("retry is for submitted runs; run the command again without --cluster")
    resubmit(find_run(run), launch, selection, as_json)


@app.command("runs", short_help="List your runs, the newest first.")
def runs(as_json: Json = False) -> None:
    """Example: wmss runs

    Lists every run that you have submitted and whose folder still exists.
    """
    from wmss_cli.slurm.runs import known_runs, summaries

    found = summaries(known_runs())
    if as_json:
        console.print_json([run.model_dump() for run in found])
        return
    # Folders are meant to be copied, so no column folds them.
    rows = [("run", "sent", "stages", "folder")]
    for run in found:
        sent = time.strftime("%Y-%m-%d %H:%M", time.localtime(run.time))
        jobs = "jobs unknown" if run.jobs is None else number(run.jobs, "job") if run.jobs else ""
        stages = ", ".join(filter(None, (f"{run.done}/{run.stages} done", jobs)))
        rows.append((Path(run.run_dir).name, sent, stages, run.run_dir))
    widths = [max(len(row[i]) for row in rows) for i in range(3)]
    console.out.print()
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row[:3], widths, strict=True)]
        console.print_line(" " + "   ".join((*cells, row[3])))
    if any(run.jobs is None for run in found):
        console.err.print("Slurm does not answer, so the jobs are unknown.")
