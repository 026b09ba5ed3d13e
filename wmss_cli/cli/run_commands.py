"""The commands that run the whole method: run and demo."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from wmss_cli.cli import console, options, submitting, tables
from wmss_cli.cli.display import Display
from wmss_cli.core.paths import packaged

if TYPE_CHECKING:
    from wmss_cli.core import config as c
    from wmss_cli.core.resolve import Resolved
    from wmss_cli.stages.pipeline import StudyPlan
    from wmss_cli.stages.plan import Step


app = typer.Typer()

Directory = Annotated[
    Path | None, typer.Option("--out", "-o", help="Folder of all results [run_dir].")
]
Json = Annotated[bool, typer.Option("--json", help="Print the results as JSON to stdout.")]


@app.command("run", short_help="Run the whole pipeline; finished steps are skipped.")
@options.spread
def run(
    config: Annotated[Path, typer.Argument(help="YAML file; 'wmss init' writes examples.")],
    sets: options.Set = None,
    out: Directory = None,
    processes: options.Processes = None,
    force: options.Force = False,
    as_json: Json = False,
    *,
    launch: options.Launch,
) -> None:
    """Example: wmss run study.yaml --set seeds=[0,1,2]

    Runs all arms of the file, for all of its seeds and base models: curate and tokenize once, the
    first phase once per seed, then the training of each arm, eval of every model, and a report.
    Equal work is done once, and finished work is skipped, so only what is new runs if you add an
    arm or a seed later. After Ctrl-C, the same command continues. With --cluster slurm all stages
    are submitted at once, as jobs that wait for each other.
    """
    given = options.configure(
        config,
        sets,
        {
            "run_dir": ("--out", str(out) if out else None),
            "launch.processes": ("--processes", processes),
            **launch.settings,
        },
    )
    resolved = given.config
    common = options.Common(config, sets, out, force, as_json)
    if resolved.launch.cluster == "slurm":
        plan = _plan(given, Display(console.err), provisional=launch.dry_run, force=common.force)
        done = submitting.submit(
            plan.steps,
            Path(resolved.run_dir),
            resolved,
            launch,
            common,
            begun=lambda: _remember(plan, resolved),
        )
        if done:
            _show_results(Path(plan.steps[-1].job.out), as_json)
        return
    submitting.refuse_without_slurm(launch)
    _run(given, Display(console.err), force, as_json)


@app.command("arms", short_help="List the arms that a study can compare.")
def arms(
    config: Annotated[
        Path | None,
        typer.Argument(help="A YAML file: its arms instead of the catalogue.", show_default=False),
    ] = None,
    sets: options.Set = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON to stdout.")] = False,
) -> None:
    """Example: wmss arms study.yaml

    An arm is a way from the base model M0 to one model: where it starts, on which samples it is
    trained, what it minimises and for how many steps. 'arms' in a configuration names some of
    these, or defines others by how they differ from these.
    """
    from wmss_cli.stages.arm_config import config_of
    from wmss_cli.stages.arms import arms_of
    from wmss_cli.stages.catalogue import CATALOGUE
    from wmss_cli.stages.pipeline import plan_pipeline

    found = list(CATALOGUE.values())
    if config is not None:
        given = options.configure(config, sets, {})
        with given.located():
            found = arms_of(given.config)
            for arm in found:
                config_of(arm, given.config)
            # Whether a study can have them all, of files that do not exist: nothing is read.
            named = {name: f"/dev/null/{name}" for name in given.config.models}
            nowhere = {
                **{"model": None if named else "/dev/null/model", "models": named},
                **{"data": ["/dev/null/data"], "eval_files": {"task": "/dev/null/task"}},
                **{"tasks": [], "decontaminate": []},
            }
            plan_pipeline(given.config.model_copy(update=nowhere), provisional=True)
    if as_json:
        console.print_json([tables.plain_arm(arm) for arm in found])
    else:
        console.out.print(tables.arms(found))


@app.command("demo", short_help="Run the whole method on a tiny model, from scratch, on a CPU.")
def demo(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of all results.")] = Path(
        "runs/demo"
    ),
    sets: options.Set = None,
    force: options.Force = False,
    as_json: Json = False,
) -> None:
    """Example: wmss demo --out runs/demo

    Generates arithmetic word problems (some records wrong on purpose), pretrains a small Qwen3 on
    them, and runs the whole pipeline with several arms to compare. Takes a few minutes on two
    cores.
    """
    from wmss_cli.stages.demo import demo_config, plan_base

    display = Display(console.err)
    given = options.configure(
        packaged("configs") / "demo.yaml", sets, {"run_dir": ("--out", str(out))}
    )
    plan, data, base = plan_base(given.config)
    _redo(plan.steps, force)
    _run_steps(plan.steps, given.config, display)
    with_base = replace(given, config=demo_config(given.config, data, base))
    _run(with_base, display, force, as_json)
    console.err.print(
        "This shows the pipeline at work on a toy; it does not reproduce the paper. With six base "
        "models, mixed logits beat neither continued fine-tuning nor softening: docs/results.md.",
    )


def _run(given: Resolved, display: Display, force: bool, as_json: bool) -> None:
    plan = _plan(given, display)
    _redo(plan.steps, force)
    # Only after all that can be refused: the record describes a study that runs.
    _remember(plan, given.config)
    _run_steps(plan.steps, given.config, display)
    _show_results(Path(plan.steps[-1].job.out), as_json)


def _plan(
    given: Resolved, display: Display, provisional: bool = False, force: bool = False
) -> StudyPlan:
    """Plan a study, and say which of its arms are the same work."""
    from wmss_cli.evaluate.problems import check_problems
    from wmss_cli.evaluate.tasks import task_inputs
    from wmss_cli.stages.pipeline import plan_pipeline

    config = given.config
    with given.located():
        evaluated = task_inputs(config.tasks, config.task_data, config.eval_files)
        check_problems(evaluated, config.eval.limit, provisional)
        kept_out = task_inputs(config.decontaminate, config.task_data, {})
        check_problems(kept_out, provisional=provisional)
        plan = plan_pipeline(config, provisional, force)
    for arm, other in plan.same:
        display.say(f"arm {arm} is the same work as {other}: it is done once")
    return plan


def _remember(plan: StudyPlan, config: c.Config) -> None:
    """Write down what the study consists of, for a report on it while it is unfinished."""
    from wmss_cli.results.study import write_study

    artifacts = {step.label: step.job.out for step in plan.steps}
    write_study(Path(config.run_dir), plan.study, artifacts, [shlex.join(["wmss", *sys.argv[1:]])])


def _show_results(report: Path, as_json: bool) -> None:
    from wmss_cli.core.manifest import verify

    verify(report)
    found: dict[str, Any] = json.loads((report / "results.json").read_text(encoding="utf-8"))
    if as_json:
        console.print_json(found)
        return
    from wmss_cli.results.findings import Findings

    study = Findings.model_validate(found)
    console.out.print(tables.results(study))
    for line in tables.places(study, report):
        console.print_line(line)


def _redo(steps: Sequence[Step], force: bool) -> None:
    """Mark all results at once, so that the command without ``--force`` continues what it began."""
    from wmss_cli.core.artifact import redo

    if force:
        redo({Path(step.job.out): step.fingerprint for step in steps})


def _run_steps(steps: Sequence[Step], config: c.Config, display: Display) -> None:
    from wmss_cli.launch.local import run_local
    from wmss_cli.stages import table
    from wmss_cli.stages.plan import check_as_planned

    for step in steps:
        job = replace(step.job, verify_inputs=config.verify_inputs)
        check_as_planned(job, step.fingerprint)
        with display.stage(step.label) as watch:
            outcome = run_local(job, config.launch.processes, watch=watch, say=display.say)
        if outcome.was_done:
            display.skipped(step.label)
        else:
            headline = table.find(step.job.stage).headline(outcome.manifest.metrics)
            display.finished(step.label, outcome.seconds, headline)
