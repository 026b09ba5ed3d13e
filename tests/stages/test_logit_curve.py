"""Logit statistics along a training: what analyze finds in the models, and no other training."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from jobs import make_joint_job, run_workers, to

from wmss_cli.core.artifact import Job
from wmss_cli.core.config import AnalyzeConfig, JointConfig
from wmss_cli.core.files import read_json_lines
from wmss_cli.core.manifest import read_manifest
from wmss_cli.score.logits import STATISTICS
from wmss_cli.stages import analyze
from wmss_cli.train.meter import TIMING

pytestmark = pytest.mark.slow

STEPS = 11


def looking(job: Job, out: Path, every: int) -> Job:
    """Return the same training with a look at the logits every few steps."""
    config = JointConfig.model_validate({**job.config, "logits_every_steps": every})
    dumped = config.model_dump(mode="json")
    return replace(to(job, out), config=dumped, identity=config.identity())


def trained(job: Job, handover: Path, world_size: int = 1) -> Path:
    codes, error = run_workers(job, handover, world_size)
    assert codes == [0] * world_size, error
    return Path(job.out)


def curve(artifact: Path) -> list[dict[str, float]]:
    return read_json_lines(artifact / "logits.jsonl")


def steps(artifact: Path) -> list[dict[str, Any]]:
    """Return the metrics without what differs when the same steps are taken again."""
    rows = read_json_lines(artifact / "metrics.jsonl")
    return [{name: row[name] for name in row.keys() - TIMING} for row in rows]


def analyzed(out: Path, model: Path, tokens: str) -> dict[str, float]:
    """Return the statistics that analyze finds."""
    config = AnalyzeConfig()
    inputs = {"model": str(model), "tokens": tokens}
    job = Job("analyze", config.model_dump(mode="json"), config.identity(), inputs, str(out))
    found: dict[str, float] = analyze.run(job).metrics["statistics"]
    return found


@pytest.mark.parametrize(("world_size", "zero_stage"), [(1, 1), (2, 3)])
def test_the_curve_is_what_analyze_finds_and_the_training_is_the_same(
    tmp_path: Path, world_size: int, zero_stage: int
) -> None:
    plain = make_joint_job(tmp_path, zero_stage=zero_stage)
    without = trained(plain, tmp_path / "0", world_size)
    watched = looking(plain, tmp_path / "watched", every=4)
    looked = trained(watched, tmp_path / "1", world_size)
    one, other = read_manifest(without), read_manifest(looked)
    assert (one.fingerprint, one.digest) == (other.fingerprint, other.digest)
    assert steps(without) == steps(looked)
    assert not (without / "logits.jsonl").exists()

    found = curve(looked)
    assert [row["step"] for row in found] == [0, 4, 8, STEPS]
    for row, model in ((found[0], plain.inputs["strong"]), (found[-1], looked / "model")):
        expected = analyzed(tmp_path / f"at-{row['step']}", Path(model), plain.inputs["tokens"])
        assert {name: row[name] for name in STATISTICS} == pytest.approx(expected, rel=1e-4)
    assert found[0]["z_target"] != found[1]["z_target"]


def test_a_resume_takes_back_the_rows_of_steps_that_it_takes_again(tmp_path: Path) -> None:
    job = make_joint_job(tmp_path)
    whole = trained(looking(job, tmp_path / "whole", every=2), tmp_path / "0")
    again = looking(job, tmp_path / "again", every=2)
    # While the checkpoint of step 6 is written: that of step 3 is the newest.
    codes, _ = run_workers(again, tmp_path / "1", fault="save", count=3 + 2)
    assert codes == [-9]
    # Training went on beside it, perhaps as far as the next row.
    seen = [row["step"] for row in curve(tmp_path / "again.partial")]
    assert seen in ([0, 2, 4, 6], [0, 2, 4, 6, 8])
    trained(again, tmp_path / "2")
    assert [row["step"] for row in curve(whole)] == [0, 2, 4, 6, 8, 10, STEPS]
    assert curve(tmp_path / "again") == curve(whole)
