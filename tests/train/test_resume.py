"""A run that was killed or stopped continues where it was, and ends with the same bits."""

from __future__ import annotations

import contextlib
import json
import random
import re
import shutil
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from jobs import make_joint_job, make_sft_job, run_workers, to, work_folder
from safetensors.torch import load_file

from wmss_cli.core.artifact import Job
from wmss_cli.core.errors import ConfigError
from wmss_cli.core.files import read_json_lines, sha256
from wmss_cli.core.manifest import read_manifest
from wmss_cli.train.meter import TIMING

pytestmark = pytest.mark.slow

STEPS = 11
PASSES_PER_STEP = 4


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Job:
    return make_joint_job(tmp_path_factory.mktemp("resume"))


@pytest.fixture(scope="module")
def undisturbed(job: Job, tmp_path_factory: pytest.TempPathFactory) -> Path:
    codes, error = run_workers(job, tmp_path_factory.mktemp("handover") / "0")
    assert codes == [0], error
    return Path(job.out)


def weights(artifact: Path) -> dict[str, str]:
    """Return the hashes of the weights, and of the model cards, which know the training too."""
    files = read_manifest(artifact).files
    parts = ("model.safetensors", "README.md")
    return {
        f"{model}/{part}": files[f"{model}/{part}"] for model in ("model", "weak") for part in parts
    }


def losses(artifact: Path) -> list[tuple[int, float]]:
    return [(row["step"], row["loss"]) for row in read_json_lines(artifact / "metrics.jsonl")]


def rows(artifact: Path) -> list[dict[str, float]]:
    """Return the metrics without what differs when the same steps are taken again."""
    found = read_json_lines(artifact / "metrics.jsonl")
    assert all(set(TIMING) < row.keys() for row in found)
    return [{name: row[name] for name in row.keys() - TIMING} for row in found]


def checkpoints(job: Job) -> list[str]:
    return sorted(path.name for path in (work_folder(job) / "checkpoints").iterdir())


@pytest.mark.parametrize(
    ("fault", "count", "code", "left"),
    [
        # In the second micro-batch of step 5: the checkpoint of step 3 is the newest.
        ("forward", 4 * PASSES_PER_STEP + 2, -9, ["step-00000003"]),
        # While the second checkpoint (two files) is written: a half-written folder stays.
        ("save", 2 + 1, -9, ["step-00000003", "step-00000006.saving"]),
        # A signal in step 5: all of it is taken, then saved.
        ("signal", 4 * PASSES_PER_STEP + 2, 130, ["step-00000003", "step-00000005"]),
        # The same while the checkpoint of step 3 is written, which is finished first.
        ("slow", 3 * PASSES_PER_STEP + 2, 130, ["step-00000003", "step-00000004"]),
    ],
)
def test_resume_ends_with_the_same_bits(
    job: Job,
    undisturbed: Path,
    tmp_path: Path,
    fault: str,
    count: int,
    code: int,
    left: list[str],
) -> None:
    again = to(job, tmp_path / "trained")
    codes, _ = run_workers(again, tmp_path / "first", fault=fault, count=count)
    assert codes == [code]
    assert not Path(again.out).exists(), "unfinished work must not look like an artifact"
    assert checkpoints(again) == left
    codes, error = run_workers(again, tmp_path / "second")
    assert codes == [0], error
    assert weights(Path(again.out)) == weights(undisturbed)
    assert rows(Path(again.out)) == rows(undisturbed)
    assert read_manifest(Path(again.out)).attempt == 2


def test_a_kill_at_any_moment_leaves_a_whole_checkpoint(
    job: Job, undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    again = to(job, tmp_path / "trained")
    seen = tmp_path / "seen"
    monkeypatch.setenv("WATCHED", str(work_folder(again) / "checkpoints"))
    monkeypatch.setenv("SEEN", str(seen))
    codes, error = run_workers(again, tmp_path / "first", fault="watch")
    assert codes == [0], error
    moments = sorted(seen.iterdir())
    whole = [newest_whole_step(moment) for moment in moments]
    # Steps 3, 6, 9 and 11 were saved, two checkpoints are kept; none was ever taken back.
    assert list(dict.fromkeys(whole)) == [0, 3, 6, 9, 11]
    assert whole == sorted(whole)
    assert sum((moment / "step-00000006.saving").exists() for moment in moments) > 5
    assert max(len(list(moment.glob("step-????????"))) for moment in moments) == 3
    # Going on from one of them: what a kill at this moment would have left.
    moment = random.choice([moment for moment, step in zip(moments, whole, strict=True) if step])
    print("going on from", moment)
    left = to(job, tmp_path / "left")
    shutil.copytree(moment, work_folder(left) / "checkpoints")
    shutil.copy(Path(again.out) / "metrics.jsonl", work_folder(left))
    codes, error = run_workers(left, tmp_path / "second")
    assert codes == [0], error
    assert weights(Path(left.out)) == weights(undisturbed)
    assert rows(Path(left.out)) == rows(undisturbed)


def newest_whole_step(folder: Path) -> int:
    """Return the step of the newest checkpoint that holds all its hashes; 0 where there is none."""
    for path in sorted(folder.glob("step-????????"), reverse=True):
        with contextlib.suppress(FileNotFoundError):
            manifest = json.loads((path / "manifest.json").read_text())
            assert all(sha256(path / name) == known for name, known in manifest["files"].items())
            return int(manifest["step"])
    return 0


@pytest.mark.parametrize("objective", ["undial", "noise"])
def test_noise_of_an_objective_resumes_with_the_same_bits(tmp_path: Path, objective: str) -> None:
    if objective == "undial":
        job = make_sft_job(tmp_path, objective=objective, neftune_alpha=5.0, max_steps=5)
    else:
        job = make_joint_job(tmp_path, weak_logits=objective, weak_mode="frozen", max_steps=5)
    codes, error = run_workers(job, tmp_path / "handover")
    assert codes == [0], error
    again = to(job, tmp_path / "again")
    run_workers(again, tmp_path / "first", fault="forward", count=4 * PASSES_PER_STEP + 2)
    assert checkpoints(again) == ["step-00000003"]
    codes, error = run_workers(again, tmp_path / "second")
    assert codes == [0], error
    files, expected = (read_manifest(Path(j.out)).files for j in (again, job))
    assert files["model/model.safetensors"] == expected["model/model.safetensors"]
    assert rows(Path(again.out)) == rows(Path(job.out))


def test_epochs_are_kept_through_a_kill(tmp_path: Path) -> None:
    job = make_joint_job(tmp_path, epochs=2.0, global_batch_size=8, keep_epochs=True)
    codes, error = run_workers(job, tmp_path / "handover")
    assert codes == [0], error
    # Epoch 1 is whole after 6 of 11 steps; the kill hits the checkpoint of that step.
    again = to(job, tmp_path / "again")
    codes, _ = run_workers(again, tmp_path / "first", fault="save", count=2 + 1)
    assert codes == [-9]
    assert (work_folder(again) / "epoch-1/model.safetensors").is_file()
    codes, error = run_workers(again, tmp_path / "second")
    assert codes == [0], error

    assert read_json_lines(Path(job.out) / "metrics.jsonl")[-1]["step"] == STEPS
    hashes = read_manifest(Path(job.out)).files
    assert hashes == read_manifest(Path(again.out)).files | {
        "metrics.jsonl": hashes["metrics.jsonl"]
    }
    assert {name.split("/")[0] for name in hashes} >= {"epoch-1", "model", "weak"}
    assert "epoch-2" not in {name.split("/")[0] for name in hashes}
    assert hashes["epoch-1/model.safetensors"] != hashes["model/model.safetensors"]


def test_a_damaged_checkpoint_is_passed_over(job: Job, undisturbed: Path, tmp_path: Path) -> None:
    again = to(job, tmp_path / "trained")
    run_workers(again, tmp_path / "first", fault="forward", count=7 * PASSES_PER_STEP + 1)
    assert checkpoints(again) == ["step-00000003", "step-00000006"]
    damaged = next(
        (work_folder(again) / "checkpoints/step-00000006/state").glob("*model_states.pt")
    )
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"x")
    codes, error = run_workers(again, tmp_path / "second")
    assert codes == [0], error
    assert weights(Path(again.out)) == weights(undisturbed)


def test_only_damaged_checkpoints_are_an_error_every_time(job: Job, tmp_path: Path) -> None:
    again = to(job, tmp_path / "trained")
    run_workers(again, tmp_path / "first", fault="forward", count=4 * PASSES_PER_STEP + 1)
    (work_folder(again) / "checkpoints/step-00000003/manifest.json").write_text("{}")
    for attempt in ("second", "third"):
        codes, error = run_workers(again, tmp_path / attempt)
        assert codes == [6]
        assert error is not None
        assert "none of 1 checkpoints matches its hashes" in error["message"]


def test_nan_stops_the_run_with_step_ids_and_the_last_checkpoint(job: Job, tmp_path: Path) -> None:
    again = to(job, tmp_path / "trained")
    codes, error = run_workers(
        again, tmp_path / "first", fault="nan", count=4 * PASSES_PER_STEP + 2
    )
    assert codes == [5]
    assert error is not None
    message = error["message"]
    assert message.startswith("step 5: the loss is nan")
    table_ids = 1
    assert message.count(", examples ") == table_ids
    assert checkpoints(again) == ["step-00000003"]
    assert [step for step, _ in losses(work_folder(again))] == [1, 2, 3, 4]


@pytest.fixture(scope="module")
def two_ranks(tmp_path_factory: pytest.TempPathFactory) -> tuple[Job, Path, Path]:
    """Two ranks with sharded weights: one run undisturbed, one killed in step 5."""
    work = tmp_path_factory.mktemp("two")
    job = make_joint_job(work, zero_stage=3)
    codes, error = run_workers(job, work / "handover", world_size=2)
    assert codes == [0, 0], error
    killed = to(job, work / "killed")
    codes, _ = run_workers(killed, work / "handover-killed", 2, "forward", 4 * 2 + 1)
    assert codes[-1] == -9
    return job, Path(job.out), work_folder(killed)


def test_two_ranks_resume_with_the_same_bits_also_after_one_hangs(
    two_ranks: tuple[Job, Path, Path], tmp_path: Path
) -> None:
    job, undisturbed, killed = two_ranks
    again = to(job, tmp_path / "trained")
    shutil.copytree(killed, work_folder(again))
    impatient = replace(again, config=again.config | {"hang_limit_min": 0.05})
    begin = time.monotonic()
    codes, error = run_workers(impatient, tmp_path / "first", 2, "sleep", 2 * 2 + 1)
    # Loading, where there is no limit, takes most of it.
    assert time.monotonic() - begin < 100
    assert codes[1] == 5
    assert error is not None
    assert error["exit_code"] == 5
    message = re.sub(r"host \S+, at faulty_worker.py:\d+, faulty_forward", "…", error["message"])
    assert message == (
        "rank 1 (…) has not answered for 0.05 min, since step 5; "
        "the same command continues from the last checkpoint"
    )
    codes, error = run_workers(again, tmp_path / "second", world_size=2)
    assert codes == [0, 0], error
    assert weights(Path(again.out)) == weights(undisturbed)
    assert rows(Path(again.out)) == rows(undisturbed)


@pytest.mark.parametrize(
    ("zero_stage", "mode"), [(0, "cotrain"), (1, "cotrain"), (2, "frozen"), (3, "frozen")]
)
def test_another_world_size_resumes_from_the_universal_checkpoint(
    tmp_path: Path, zero_stage: int, mode: str
) -> None:
    # Without dropout the ranks' random numbers play no part, so the runs can be compared.
    job = make_joint_job(tmp_path, zero_stage=zero_stage, weight_decay=0.5, weak_mode=mode)
    for role in ("weak", "strong"):
        path = tmp_path / role / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"attention_dropout": 0.0}))
    codes, error = run_workers(job, tmp_path / "handover")
    assert codes == [0], error
    again = to(job, tmp_path / "again")
    run_workers(again, tmp_path / "first", 2, "forward", 4 * 2 + 1)
    assert checkpoints(again) == ["step-00000003"]
    codes, error = run_workers(again, tmp_path / "second", world_size=1)
    assert codes == [0], error
    steps = [step for step, _ in losses(Path(again.out))]
    assert steps == list(range(1, STEPS + 1))
    for name in ("model", "weak") if mode == "cotrain" else ("model",):
        ours, theirs = (
            load_file(folder / name / "model.safetensors")
            for folder in (Path(again.out), Path(job.out))
        )
        for key, value in ours.items():
            torch.testing.assert_close(value, theirs[key], rtol=1e-4, atol=1e-5)
    # Sums of a different order, the same mathematics.
    assert [x for _, x in losses(Path(again.out))] == pytest.approx(
        [x for _, x in losses(Path(job.out))], rel=1e-5
    )


@pytest.mark.parametrize("zero_stage", [1, 2, 3])
def test_bf16_resumes_with_the_same_bits(tmp_path: Path, zero_stage: int) -> None:
    job = make_joint_job(tmp_path, precision="bf16", zero_stage=zero_stage, max_steps=5)
    codes, error = run_workers(job, tmp_path / "handover")
    assert codes == [0], error
    again = to(job, tmp_path / "again")
    run_workers(again, tmp_path / "first", fault="forward", count=4 * PASSES_PER_STEP + 2)
    assert checkpoints(again) == ["step-00000003"]
    if zero_stage == 3:
        smaller = {"deepspeed": {"zero_optimization": {"sub_group_size": 5000}}}
        other = replace(again, config=again.config | smaller)
        codes, error = run_workers(other, tmp_path / "other")
        assert codes == [ConfigError.exit_code]
        assert error is not None
        assert "sub_group_size of deepspeed.zero_optimization must stay" in error["message"]
    codes, error = run_workers(again, tmp_path / "second")
    assert codes == [0], error
    assert weights(Path(again.out)) == weights(Path(job.out))
