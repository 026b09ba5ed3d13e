"""Stages that are sent by hand, one after the other, wait for each other."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from commands import error_of, invoke, right_records, write_model, write_records
from slurm.fake_slurm import FakeSlurm
from slurm.plans import finish
from typer.testing import Result

from wmss_cli.core.artifact import redo
from wmss_cli.core.manifest import read_manifest
from wmss_cli.slurm.ledger import Ledger

SLURM = ("--cluster", "slurm", "--profile", "cpu")


@pytest.fixture
def hand(tmp_path: Path, slurm: FakeSlurm, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose curation was just sent, as job 1."""
    monkeypatch.chdir(tmp_path)
    write_model(tmp_path / "base")
    write_records(tmp_path / "data.jsonl", right_records(4))
    write_records(tmp_path / "problems.jsonl", ['{"id": "1", "question": "1?", "answer": "1"}'])
    assert ok(invoke("curate", "data.jsonl", "-o", "hand/curated", *SLURM))
    assert len(slurm.jobs()) == 1
    return tmp_path / "hand"


def ok(result: Result) -> str:
    assert result.exit_code == 0, result.stderr
    return result.stdout


def dependency(slurm: FakeSlurm, stage: str) -> str | None:
    found: str | None = slurm.last(stage)["options"].get("dependency")
    return found


def tokenize(*more: str) -> Result:
    return invoke(
        *("tokenize", "-e", "hand/curated", "-m", "base", "-o", "hand/tokens", *SLURM, *more)
    )


def test_each_stage_waits_for_the_one_that_was_sent_before(hand: Path, slurm: FakeSlurm) -> None:
    ok(tokenize())
    ok(invoke("sft", "-m", "base", "-t", "hand/tokens", "-o", "hand/m1", *SLURM))
    joint = ("joint-train", "--weak", "base", "--strong", "hand/m1", "-t", "hand/tokens")
    ok(invoke(*joint, "-o", "hand/joint", *SLURM))
    # From another folder, and the model itself.
    ok(
        invoke(
            *("eval", "-m", str(hand / "joint" / "weak"), "--task", "sums=problems.jsonl"),
            *("-o", "elsewhere/eval", *SLURM),
        )
    )
    ok(invoke("eval", "-m", "hand/joint", "--task", "sums=problems.jsonl", "-o", "e/e", *SLURM))
    found = [dependency(slurm, name) for name in ("curated", "tokens", "m1", "joint", "eval", "e")]
    assert found == [None, "afterok:1", "afterok:2", "afterok:3:2", "afterok:4", "afterok:4"]
    # The same again is queued, and retry knows what to wait for.
    assert "queued before" in ok(tokenize())
    slurm.move("2", "FAILED")
    ok(invoke("retry", hand))
    assert dependency(slurm, "tokens") == "afterok:1"
    assert dependency(slurm, "m1") == f"afterok:{slurm.last('tokens')['id']}"


def test_what_is_planned_is_what_is_made(hand: Path, slurm: FakeSlurm) -> None:
    ok(tokenize())
    curated, tokens = Ledger(hand).read_plan().steps()
    finish(curated.job)
    slurm.move("1", "COMPLETED")
    finish(tokens.job)
    slurm.move("2", "COMPLETED")
    assert read_manifest(Path(tokens.job.out)).fingerprint == tokens.fingerprint
    # All is done, so the same command shows it.
    assert json.loads(ok(tokenize("--json")))["fingerprint"] == tokens.fingerprint
    assert len(slurm.jobs()) == 2


def test_what_is_made_again_is_waited_for_though_it_exists(hand: Path, slurm: FakeSlurm) -> None:
    (curated,) = Ledger(hand).read_plan().steps()
    finish(curated.job)
    redo({Path(curated.job.out): curated.fingerprint})
    ok(tokenize())
    assert dependency(slurm, "tokens") == "afterok:1"


def test_what_failed_cannot_be_waited_for(hand: Path, slurm: FakeSlurm) -> None:
    slurm.move("1", "FAILED")
    said = error_of(tokenize())
    assert said.startswith(f"tokens: {hand}/curated does not exist, and no job that makes it waits")
    assert said.endswith(f"'wmss retry {hand}' first")
    assert len(slurm.jobs()) == 1


def test_what_is_no_model_is_refused(hand: Path, slurm: FakeSlurm) -> None:
    assert hand.is_dir()
    result = invoke("sft", "-m", "hand/curated", "-t", "hand/curated", "-o", "hand/m1", *SLURM)
    assert error_of(result) == "hand/curated: is made by curate, which makes no model"
    assert len(slurm.jobs()) == 1


def test_a_dry_run_shows_what_it_would_wait_for(hand: Path, slurm: FakeSlurm) -> None:
    assert hand.is_dir()
    result = tokenize("--dry-run")
    assert "#SBATCH --dependency=afterok:1" in ok(result)
    assert "provisional" not in result.stderr
    assert len(slurm.jobs()) == 1


def test_what_was_made_otherwise_meanwhile_is_read(hand: Path, slurm: FakeSlurm) -> None:
    (curated,) = Ledger(hand).read_plan().steps()
    slurm.move("1", "FAILED")
    # By hand, on this machine, with another option.
    finish(replace(curated.job, identity={"another": True}))
    ok(tokenize())
    assert dependency(slurm, "tokens") is None


def test_a_model_that_is_made_again_is_not_looked_at(hand: Path, slurm: FakeSlurm) -> None:
    ok(tokenize())
    ok(invoke("sft", "-m", "base", "-t", "hand/tokens", "-o", "hand/m1", *SLURM))
    evaluated = ("eval", "-m", "hand/m1", "--task", "sums=problems.jsonl", "-o", "hand/e", *SLURM)
    (hand / "m1" / "model").mkdir(parents=True)
    (hand / "m1" / "model" / "config.json").write_text("{}")
    ok(invoke(*evaluated))
    assert dependency(slurm, "e") == "afterok:3"
