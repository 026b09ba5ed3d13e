"""Options that many commands share: they are in each signature, and arrive as one object."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from wmss_cli.cli import options
from wmss_cli.cli.main import app, main
from wmss_cli.core.errors import ConfigError

seen: list[object] = []
small = typer.Typer()


@small.command()
@options.spread
def command(
    data: Annotated[list[str] | None, typer.Argument()] = None,
    workers: Annotated[int, typer.Option("--workers")] = 2,
    *,
    common: options.Common,
    launch: options.Launch,
) -> None:
    """Example: command DATA

    Its own help.
    """
    seen.append((data, workers, common, launch))


@small.command()
@options.spread
def other(name: str, *, launch: options.Launch) -> None:
    seen.append((name, launch))


def run(*arguments: str) -> object:
    seen.clear()
    result = CliRunner().invoke(small, list(arguments))
    assert result.exit_code == 0, result.stderr
    (found,) = seen
    return found


def test_without_options_the_defaults_hold() -> None:
    assert run("command") == (None, 2, options.Common(), options.Launch())


def test_shared_options_arrive_as_objects_beside_the_commands_own() -> None:
    found = run(
        *("command", "a", "b", "--workers", "3", "-c", "run.yaml", "-s", "x=1", "--set", "y=2"),
        *("-o", "out", "--force", "--json", "--cluster", "slurm", "--profile", "h800:8b"),
        *("--slurm", "partition=long", "--slurm", "account=me", "--dry-run", "--wait"),
    )
    common = options.Common(Path("run.yaml"), ["x=1", "y=2"], Path("out"), True, True)
    launch = options.Launch("slurm", "h800:8b", ["partition=long", "account=me"], True, True)
    assert found == (["a", "b"], 3, common, launch)


def test_a_command_may_take_one_group_only() -> None:
    assert run("other", "a", "--dry-run") == ("a", options.Launch(dry_run=True))
    result = CliRunner().invoke(small, ["other", "a", "--set", "x=1"])
    assert result.exit_code == 2
    assert "No such option: --set" in result.stderr


def test_what_is_typed_is_checked() -> None:
    result = CliRunner().invoke(small, ["other", "a", "--cluster", "cloud"])
    assert result.exit_code == 2
    assert "'cloud' is not one of" in result.stderr


def test_the_help_of_a_command_stays_and_gains_the_options() -> None:
    shown = CliRunner().invoke(small, ["command", "--help"], env={"COLUMNS": "100"}).stdout
    assert "Its own help." in shown
    assert "--workers" in shown
    assert shown.index("--config") < shown.index("Slurm") < shown.index("--profile")


@pytest.mark.parametrize("name", ["curate", "sft", "score-entropy", "joint-train", "eval", "run"])
def test_every_command_that_runs_stages_can_submit_them(name: str) -> None:
    shown = CliRunner().invoke(app, [name, "--help"], env={"COLUMNS": "100"}).stdout
    for option in ("--cluster", "--profile", "--slurm", "--dry-run", "--wait", "--json"):
        assert option in shown


def test_launch_options_are_settings_of_the_configuration() -> None:
    launch = options.Launch(cluster="slurm", profile="cpu")
    resolved = options.configure(None, None, launch.settings)
    assert (resolved.config.launch.cluster, resolved.config.launch.profile) == ("slurm", "cpu")
    assert resolved.origins["launch.profile"] == "--profile"
    # What is not given beats nothing.
    sets = ["launch.cluster=slurm"]
    resolved = options.configure(None, sets, options.Launch().settings)
    assert resolved.config.launch.cluster == "slurm"


def test_paths_of_options_know_the_home_folder_and_variables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[Path] = []
    paths = typer.Typer()

    @paths.command()
    def one(out: Annotated[Path, typer.Option("--out")], name: str = "~/a") -> None:
        found.append(out)
        assert name == "~/a"

    options.expand_paths(paths)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SCRATCH", "/scratch")
    monkeypatch.delenv("UNSET", raising=False)
    for written in ("~/x", "$SCRATCH/x"):
        CliRunner().invoke(paths, [f"--out={written}"], catch_exceptions=False)
    assert found == [tmp_path / "x", Path("/scratch/x")]
    with pytest.raises(ConfigError, match=r"^--out: \$UNSET/x: \$UNSET is not set"):
        CliRunner().invoke(paths, ["--out=$UNSET/x"], catch_exceptions=False)


def test_every_command_has_its_paths_expanded() -> None:
    for command in (["run", "$UNSET_HERE/a.yaml"], ["config", "show", "-c", "$UNSET_HERE/a.yaml"]):
        result = CliRunner().invoke(app, command)
        assert result.exit_code == 3
        assert "--config: $UNSET_HERE/a.yaml: $UNSET_HERE is not set" in result.stderr


@pytest.mark.parametrize("arguments", [["--out", ""], ["--out="], ["", "--out", "a"]])
def test_an_argument_that_an_unset_variable_left_empty_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["wmss", "run", "study.yaml", *arguments])
    with pytest.raises(SystemExit, match="2"):
        main()
    assert "is empty; is the variable that it comes from set?" in capsys.readouterr().err
