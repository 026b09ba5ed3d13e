"""The commands that prepare a run: init, doctor, config show."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from shutil import which
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.markup import escape
from rich.table import Table

from wmss_cli.cli import console, options
from wmss_cli.cli.display import Display
from wmss_cli.core.errors import ConfigError
from wmss_cli.core.paths import packaged

if TYPE_CHECKING:
    from wmss_cli.preflight.doctor import Finding

app = typer.Typer()
config_app = typer.Typer(no_args_is_help=True, help="Example: wmss config show -c demo.yaml")
app.add_typer(config_app, name="config", short_help="Look at the configuration.")

Json = Annotated[bool, typer.Option("--json", help="Print JSON to stdout.")]


@app.command("init", short_help="Copy example configurations into a folder.")
def init(
    folder: Annotated[Path, typer.Argument(help="The folder to create.")] = Path(),
    profile: Annotated[
        bool, typer.Option("--profile", help="Write a profile for the Slurm cluster seen here.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace existing files.")] = False,
) -> None:
    """Example: wmss init my-project

    Prints the files that it writes: configurations, and profiles in slurm_templates/. With
    --profile, only one for this cluster, made from the partitions, GPUs and limits in sinfo.
    """
    if profile:
        _write({folder / "cluster.yaml": _seen_profile()}, force)
        return
    configs = {folder / path.name: path for path in packaged("configs").glob("*.yaml")}
    templates = {
        folder / "slurm_templates" / path.name: path
        for path in packaged("slurm_templates").glob("*.yaml")
    }
    texts = {target: path.read_text("utf-8") for target, path in (configs | templates).items()}
    _write(texts, force)


def _write(texts: Mapping[Path, str], force: bool) -> None:
    there = [str(target) for target in sorted(texts) if target.exists()]
    if there and not force:
        raise ConfigError(f"{', '.join(there)}: already here; choose another folder or --force")
    for target, text in sorted(texts.items()):
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
        console.print_line(str(target))


def _seen_profile() -> str:
    from wmss_cli.slurm.commands import cluster_config
    from wmss_cli.slurm.partitions import partitions, render, suggest

    name = cluster_config().name
    return render(
        suggest(partitions()),
        f"For the cluster {name}, from what sinfo says about it. Change what does not fit;\n"
        "'wmss doctor --profile cluster.yaml' checks it.",
    )


@app.command("doctor", short_help="Check what is installed, what is missing, and how to get it.")
def doctor(
    model: Annotated[
        str | None,
        typer.Argument(help="Check only this model: a folder, or an artifact.", show_default=False),
    ] = None,
    config: options.Config = None,
    sets: options.Set = None,
    profile: Annotated[
        str | None,
        typer.Option("--profile", metavar="NAME", help="Also check Slurm: h800:8b, or a file."),
    ] = None,
    submit: Annotated[
        bool, typer.Option("--submit", help="Also send a small job to two nodes, and wait for it.")
    ] = False,
    slurm: options.Slurm = None,
    as_json: Json = False,
) -> None:
    """Example: wmss doctor --profile h800:8b --submit

    Ends with exit code 3 if something is missing that wmss cannot do without. With --profile it
    compares the cluster with what the profile asks for; with --submit it also checks from the
    compute nodes: shared folder, the same Python, GPUs, NCCL's bandwidth between two nodes. With
    MODEL it checks that model's weights, tokenizer, context, chat template and stop tokens instead,
    as every stage does before it begins.
    """
    if model is not None and (profile is not None or submit):
        raise ConfigError("MODEL and --profile are checked separately; leave one of them out")
    if submit and profile is None:
        raise ConfigError("--submit needs to know what to ask for; add --profile NAME")
    if model is not None:
        from wmss_cli.preflight.doctor import examine_model

        own = options.configure(config, sets, {}).config
        findings = examine_model(model, own.tokenize, own.eval)
    else:
        from wmss_cli.preflight.doctor import examine

        findings = examine()
        if profile is not None or which("sinfo"):
            findings += _examine_cluster(profile, tuple(slurm or ()), submit)
    if as_json:
        console.print_json([finding.model_dump() for finding in findings])
    else:
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        table.add_column("", no_wrap=True)
        table.add_column("what", no_wrap=True)
        table.add_column("found", overflow="fold")
        table.add_column("what to do", overflow="fold")
        marks = {"ok": "[green]ok[/]", "note": "[yellow]note[/]", "missing": "[red]missing[/]"}
        for finding in findings:
            table.add_row(
                marks[finding.state], finding.what, escape(finding.found), escape(finding.advice)
            )
        console.out.print(table)
    if any(finding.state == "missing" for finding in findings):
        raise typer.Exit(ConfigError.exit_code)


def _examine_cluster(name: str | None, changes: tuple[str, ...], submit: bool) -> list[Finding]:
    from wmss_cli.preflight.cluster_doctor import examine_cluster, examine_jobs
    from wmss_cli.slurm.profile import load_profile

    profile = None if name is None else load_profile(name, changes)
    findings = examine_cluster(profile)
    # What the login node finds missing would only make the job fail.
    if submit and profile and name and all(found.state != "missing" for found in findings):
        findings += examine_jobs(profile, name, Display(console.err).say)
    return findings


@config_app.command("show", short_help="Print every option, its value and where it came from.")
def show(config: options.Config = None, sets: options.Set = None, as_json: Json = False) -> None:
    """Example: wmss config show -c demo.yaml --set joint.mix_lambda=0.42

    The strongest source wins: options, then --set, then the YAML file, then the defaults.
    """
    resolved = options.configure(config, sets, {})
    from wmss_cli.core.resolve import flatten

    leaves = flatten(resolved.config)
    if as_json:
        console.print_json(
            {key: {"value": value, "from": resolved.origins[key]} for key, value in leaves.items()}
        )
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("key", no_wrap=True)
    table.add_column("value", overflow="fold")
    table.add_column("from", overflow="fold")
    for key, value in leaves.items():
        shown = "" if value is None else escape(str(value))
        table.add_row(key, shown, escape(resolved.origins[key]))
    console.out.print(table)
