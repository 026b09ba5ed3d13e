"""The command line: help, where output goes, and commands that need no training."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from commands import (
    WMSS,
    error_of,
    invoke,
    record,
    right_records,
    without_progress,
    wmss,
    write_records,
)

import wmss_cli
from wmss_cli.cli.main import app
from wmss_cli.core.config import Config
from wmss_cli.core.manifest import read_manifest
from wmss_cli.core.resolve import flatten, resolve
from wmss_cli.slurm.profile import load_profile

ESCAPE = "\x1b"
RED = re.compile(r"\x1b\[[\d;]*31m")


def commands() -> Iterator[list[str]]:
    """Yield every command, the groups included, as it is typed."""

    def walk(command: object, path: list[str]) -> Iterator[list[str]]:
        yield path
        for name, inner in getattr(command, "commands", {}).items():
            yield from walk(inner, [*path, name])

    yield from walk(typer.main.get_command(app), [])


# Help.


def test_the_commands_are_those_of_the_method() -> None:
    assert {" ".join(path) for path in commands() if len(path) == 1} >= {
        *("run", "demo", "curate", "tokenize", "sft", "score-entropy", "build-curriculum"),
        *("joint-train", "eval", "init", "doctor", "config"),
        *("status", "logs", "cancel", "retry", "runs"),
    }


@pytest.mark.parametrize("path", commands(), ids=" ".join)
@pytest.mark.parametrize("option", ["--help", "-h"])
def test_every_help_begins_with_an_example(path: list[str], option: str) -> None:
    result = invoke(*path, option)
    assert result.exit_code == 0
    usage, *text = [line.strip() for line in result.stdout.splitlines() if line.strip()]
    assert usage.startswith("Usage: ")
    assert text[0].startswith("Example: wmss ")
    example = text[0].removeprefix("Example: wmss ")
    assert example.startswith(" ".join(path))


@pytest.mark.parametrize("arguments", [["--help"], ["config", "show"], ["curate", "nowhere.jsonl"]])
def test_what_needs_no_torch_does_not_import_it(arguments: list[str]) -> None:
    imported = imported_by(*arguments)
    assert "wmss_cli.cli.options" in imported
    assert not imported & {"torch", "transformers", "deepspeed", "datasets"}


def test_the_help_builds_no_configuration() -> None:
    imported = imported_by("--help")
    assert "wmss_cli.cli.options" in imported
    assert not imported & {"pydantic", "yaml", "wmss_cli.core.config"}


def imported_by(*arguments: str) -> set[str]:
    """Return the names of all modules that a command imports."""
    command = [sys.executable, "-X", "importtime", *WMSS[1:], *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}


def test_the_version() -> None:
    result = invoke("--version")
    assert (result.exit_code, result.stdout) == (0, f"{wmss_cli.__version__}\n")


def test_without_arguments_it_shows_the_help() -> None:
    assert "Example: wmss run study.yaml" in invoke().output


def test_completion_for_bash() -> None:
    # Without it typer asks which shell has started it: on a machine that runs jobs, none.
    named = {**os.environ, "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    command = [*WMSS, "--show-completion", "bash"]
    shown = subprocess.run(command, env=named, capture_output=True, text=True, check=False)
    assert shown.returncode == 0, shown.stderr
    assert "complete -o default -F _wmss_completion wmss" in shown.stdout
    words = {"COMP_WORDS": "wmss score", "COMP_CWORD": "1", "_WMSS_COMPLETE": "complete_bash"}
    done = subprocess.run(
        WMSS, env={**os.environ, **words}, capture_output=True, text=True, check=False
    )
    assert done.stdout.split() == ["score-entropy"]


# Where output goes.


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rows = [*right_records(3), record("2 + 2?", "5", "4")]
    return write_records(tmp_path_factory.mktemp("cli") / "data.jsonl", rows)


@pytest.fixture(scope="module")
def first_run(data: Path) -> subprocess.CompletedProcess[str]:
    return wmss("curate", data, "--out", data.parent / "curated", "--json")


@pytest.mark.slow
def test_stdout_holds_the_manifest_and_stderr_the_rest(
    data: Path, first_run: subprocess.CompletedProcess[str]
) -> None:
    assert first_run.returncode == 0
    manifest = read_manifest(data.parent / "curated")
    assert json.loads(first_run.stdout) == manifest.model_dump(mode="json")
    assert first_run.stderr.startswith("curate: started\n")
    (done,) = without_progress(first_run.stderr)
    assert re.fullmatch(r"curate: done in [\d.:]+ (s|min)", done)
    assert ESCAPE not in first_run.stdout + first_run.stderr


@pytest.mark.slow
@pytest.mark.usefixtures("first_run")
def test_without_json_stdout_holds_the_path(data: Path) -> None:
    out = data.parent / "curated"
    before = (out / "manifest.json").stat().st_mtime_ns
    result = invoke("curate", data, "--out", out)
    assert result.exit_code == 0
    assert result.stdout == f"{out}\n"
    assert "curate: done before" in result.stderr.splitlines()
    assert re.search(r"^ *kept +3 *$", result.stderr, re.MULTILINE)
    assert (out / "manifest.json").stat().st_mtime_ns == before, "it did nothing"


@pytest.mark.slow
@pytest.mark.usefixtures("first_run")
def test_another_option_is_refused_and_force_replaces(data: Path) -> None:
    out = data.parent / "curated"
    again = ("curate", data, "--out", out, "--set", "curate.limit=2")
    refused = invoke(*again)
    assert refused.exit_code == 3
    assert error_of(refused) == (
        f"{out}: contains another artifact (limit was None, now 2); "
        "choose another --out, or --force to replace it"
    )
    assert read_manifest(out).metrics["kept"] == 3
    assert invoke(*again, "--force").exit_code == 0
    assert read_manifest(out).metrics["kept"] == 2
    assert invoke("curate", data, "--out", out).exit_code == 3
    assert {path.name for path in data.parent.iterdir()} == {
        *("data.jsonl", "curated", "logs", ".curated.lock")
    }


@pytest.mark.slow
def test_without_out_the_folder_is_named_by_the_fingerprint(data: Path, tmp_path: Path) -> None:
    result = invoke("curate", data, "--set", f"run_dir={tmp_path}", "--set", "curate.limit=1")
    out = Path(result.stdout.strip())
    assert out.parent == tmp_path
    assert out.name == f"curate-{read_manifest(out).fingerprint[:10]}"


def on_a_terminal(*arguments: str, **environment: str) -> str:
    """Return what a command shows on a terminal."""
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [*WMSS, *arguments],
        env={**os.environ, "TERM": "xterm-256color", **environment},
        stdin=follower,
        stdout=follower,
        stderr=follower,
    )
    os.close(follower)
    shown = b""
    while True:
        try:
            piece = os.read(leader, 4096)
        except OSError:  # The other end is closed.
            break
        if not piece:
            break
        shown += piece
    os.close(leader)
    process.wait(timeout=60)
    return shown.decode()


def test_no_color_is_honoured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert RED.search(on_a_terminal("curate", "nowhere.jsonl"))
    assert not RED.search(on_a_terminal("curate", "nowhere.jsonl", NO_COLOR="1"))


# config show.


def test_config_show_says_where_each_value_comes_from(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("sft:\n  learning_rate: 1e-4\n")
    result = invoke("config", "show", "-c", path, "--set", "joint.mix_lambda=0.42", "--json")
    shown = json.loads(result.stdout)
    assert shown["sft.learning_rate"] == {"value": 1e-4, "from": f"{path}:2"}
    assert shown["joint.mix_lambda"] == {"value": 0.42, "from": "--set joint.mix_lambda"}
    assert shown["sft.epochs"] == {"value": 1.0, "from": "default"}
    assert shown.keys() == flatten(Config()).keys()
    assert result.stderr == ""


def test_config_show_for_people() -> None:
    result = invoke("config", "show", "--set", "joint.mix_lambda=0.42")
    (line,) = (line for line in result.stdout.splitlines() if line.startswith(" joint.mix_lambda"))
    assert line.split()[:2] == ["joint.mix_lambda", "0.42"]


# init.


def test_init_copies_examples_that_are_valid(tmp_path: Path) -> None:
    result = invoke("init", tmp_path / "project")
    assert result.exit_code == 0
    written = [Path(line) for line in result.stdout.splitlines()]
    assert sorted(written) == sorted((tmp_path / "project").rglob("*.yaml"))
    assert tmp_path / "project" / "demo.yaml" in written
    assert tmp_path / "project" / "slurm_templates" / "h800.yaml" in written
    for path in written:
        load_profile(str(path)) if path.parent.name == "slurm_templates" else resolve(path)


def test_init_does_not_overwrite(tmp_path: Path) -> None:
    (tmp_path / "demo.yaml").write_text("mine")
    refused = invoke("init", tmp_path)
    assert refused.exit_code == 3
    assert error_of(refused) == (
        f"{tmp_path}/demo.yaml: already here; choose another folder or --force"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["demo.yaml"]
    assert (tmp_path / "demo.yaml").read_text() == "mine"
    assert invoke("init", tmp_path, "--force").exit_code == 0
    assert (tmp_path / "demo.yaml").read_text() != "mine"


def test_init_into_a_file_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "project").write_text("mine")
    result = invoke("init", tmp_path / "project")
    assert result.exit_code == 5
    assert error_of(result).startswith(f"{tmp_path}/project: a file of this name exists already")


# doctor.


def test_doctor_as_json() -> None:
    result = invoke("doctor", "--json")
    assert result.exit_code == 0
    findings = {finding["what"]: finding for finding in json.loads(result.stdout)}
    assert findings["python"]["state"] == "ok"
    assert set(findings["torch"]) == {"what", "state", "found", "advice"}
    assert result.stderr == ""


def test_doctor_ends_with_3_where_something_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "wmss_cli.preflight.doctor.metadata.requires", lambda _: ["wmss-no-such-package>=1.2"]
    )
    result = invoke("doctor")
    assert result.exit_code == 3
    assert "wmss-no-such-package" in result.stdout
