"""Whole training stages by real workers: precision, checkpointing of activations, refusals."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from families import make_family
from jobs import make_joint_job, make_sft_job, run_workers, to, work_folder
from table import make_token_table
from transformers import AutoModelForCausalLM

from wmss_cli.core.artifact import Job, open_draft
from wmss_cli.core.files import read_json_lines
from wmss_cli.core.manifest import read_manifest
from wmss_cli.core.schema import ACTIVE, write_parquet
from wmss_cli.data.tokens import TokenTable
from wmss_cli.models.causal import load_model

pytestmark = [pytest.mark.slow, pytest.mark.measured]


def without_dropout(work: Path) -> None:
    for role in ("weak", "strong"):
        path = work / role / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"attention_dropout": 0.0}))


def losses(tmp_path: Path, name: str, **options: object) -> list[float]:
    work = tmp_path / name
    job = make_joint_job(work, max_steps=4, **options)
    without_dropout(work)
    codes, error = run_workers(job, work / "handover")
    assert codes == [0], error
    return [row["loss"] for row in read_json_lines(Path(job.out) / "metrics.jsonl")]


def test_bf16_and_gradient_checkpointing_follow_fp32(tmp_path: Path) -> None:
    plain = losses(tmp_path, "plain")
    recomputed = losses(tmp_path, "recomputed", gradient_checkpointing=True)
    assert recomputed == pytest.approx(plain, rel=1e-6)
    for zero_stage in (1, 2, 3):
        name = f"bf16-{zero_stage}"
        narrow = losses(tmp_path, name, precision="bf16", zero_stage=zero_stage)
        assert narrow != plain
        assert narrow == pytest.approx(plain, rel=2e-2)
        model = AutoModelForCausalLM.from_pretrained(
            tmp_path / name / "trained/model", dtype="auto"
        )
        assert str(model.dtype) == "torch.bfloat16"


def test_cached_weak_states_are_those_of_the_weak_model_in_bf16(tmp_path: Path) -> None:
    epochs = {"epochs": 0.3, "weak_mode": "frozen"}
    computed = losses(tmp_path, "computed", **epochs)
    for zero_stage in (1, 3):
        name = f"cached-{zero_stage}"
        cached = losses(tmp_path, name, cache_weak=True, zero_stage=zero_stage, **epochs)
        assert cached != computed
        assert cached == pytest.approx(computed, rel=1e-3)
    assert not (tmp_path / "cached-1/trained/weak-states").exists()


def test_the_cut_of_a_global_batch_does_not_change_the_loss(tmp_path: Path) -> None:
    whole = losses(tmp_path, "whole", micro_batch_tokens="auto")
    assert read_manifest(tmp_path / "whole/trained").metrics["micro_batch_tokens"] == 8192
    pieces = losses(tmp_path, "pieces", micro_batch_tokens=1)
    assert pieces == pytest.approx(whole, rel=1e-5)


def test_noise_does_not_change_with_the_cut_and_the_ranks(tmp_path: Path) -> None:
    """On one rank and on two, packed and one by one: the same losses up to rounding."""
    cuts = [(1, 1000), (1, 1), (2, 16)]
    for name, make, options in (
        ("shuffled", make_joint_job, {"weak_logits": "shuffled", "weak_mode": "frozen"}),
        ("neftune", make_sft_job, {"objective": "undial", "neftune_alpha": 5.0}),
    ):
        found = []
        for i, (world_size, micro_batch_tokens) in enumerate(cuts):
            work = tmp_path / f"{name}-{i}"
            job = make(work, max_steps=2, micro_batch_tokens=micro_batch_tokens, **options)
            without_dropout(work)
            codes, error = run_workers(job, work / "handover", world_size)
            assert set(codes) == {0}, error
            rows = read_json_lines(Path(job.out) / "metrics.jsonl")
            found.append([value for row in rows for value in (row["loss"], row["strong_loss"])])
        assert found[1] == pytest.approx(found[0], rel=1e-5)
        assert found[2] == pytest.approx(found[0], rel=1e-5)


@pytest.mark.parametrize("family", ["Gemma3", "Mllama", "Qwen3_5"])
def test_of_a_multimodal_model_the_language_part_learns(tmp_path: Path, family: str) -> None:
    work = tmp_path / "work"
    job = make_joint_job(work, max_steps=2, zero_stage=3, gradient_checkpointing=True)
    for seed, role in enumerate(("weak", "strong")):
        shutil.rmtree(work / role)
        make_family(work / role, family, seed)
    (work / "strong/preprocessor_config.json").write_text('{"image_size": 8}')
    shutil.rmtree(work / "tokens")
    make_token_table(work / "tokens", work / "weak", [(4, 3 + i % 9) for i in range(8)])
    codes, error = run_workers(job, work / "handover", 2)
    assert set(codes) == {0}, error
    before, after = (
        load_model(folder, "fp32") for folder in (work / "strong", Path(job.out) / "model")
    )
    assert type(after) is type(before)
    assert type(after).__name__ == f"{family}ForConditionalGeneration"
    processor = Path(job.out) / "model/preprocessor_config.json"
    assert processor.read_text() == '{"image_size": 8}', "other engines load the folder by it"
    weights = after.state_dict()
    changed = {name for name, p in before.state_dict().items() if not p.equal(weights[name])}
    assert any("language_model.layers.0" in name for name in changed)
    assert not any("visual" in name or "vision" in name for name in changed)
    assert not any("cross_attn" in name for name in changed), "text does not go through it"


def test_undial_kd_from_itself_with_beta_0_starts_at_the_entropy_of_the_model(
    tmp_path: Path,
) -> None:
    job = make_sft_job(tmp_path, objective="undial_kd", undial_beta=0.0, max_steps=2)
    job = replace(job, inputs=job.inputs | {"reference": job.inputs["strong"]})
    without_dropout(tmp_path)
    codes, error = run_workers(job, tmp_path / "handover")
    assert codes == [0], error
    first, second = read_json_lines(Path(job.out) / "metrics.jsonl")
    # The minimum: a model held to itself has no gradient and stays.
    assert first["grad_norm"] < 1e-4
    assert first["loss"] != first["strong_loss"]
    assert second["step"] == 2
    assert not (Path(job.out) / "weak").exists()


def test_as_many_steps_as_a_joint_training_costs(tmp_path: Path) -> None:
    job = make_sft_job(tmp_path, match_flops="cotrain", epochs=0.5)
    ids = TokenTable(tmp_path / "tokens").example_ids
    with open_draft(Job("build_curriculum", {}, {}, {}, str(tmp_path / "active"))) as draft:
        active = [{"example_id": example_id, "count": 2} for example_id in ids[:20]]
        write_parquet(draft.folder / "active.parquet", active, ACTIVE)
        draft.commit({})
    job = replace(job, inputs=job.inputs | {"matched": str(tmp_path / "active")})
    codes, error = run_workers(job, tmp_path / "handover")
    assert codes == [0], error
    metrics = read_manifest(Path(job.out)).metrics
    # Five steps of twice the cost; the samples are of unlike lengths.
    assert 8 <= metrics["steps"] <= 12
    assert metrics["samples"] == 4 * metrics["steps"]
    assert abs(metrics["flops"] - metrics["matched_flops"]) <= metrics["flops"] / metrics["steps"]


def test_more_ranks_than_samples_are_refused(tmp_path: Path) -> None:
    job = make_joint_job(tmp_path, global_batch_size=1)
    codes, error = run_workers(job, tmp_path / "handover", world_size=2)
    # The rank that ends last may meet a lost connection instead.
    assert 3 in codes
    assert 0 not in codes
    assert error is not None
    assert "global_batch_size 1 is less than the 2 processes" in error["message"]


def test_the_manifest_says_what_was_trained(tmp_path: Path) -> None:
    job = make_joint_job(tmp_path, max_steps=2, weak_mode="frozen")
    ends = {"eos_token_id": [0, 319], "repetition_penalty": 1.1}
    (tmp_path / "strong" / "generation_config.json").write_text(json.dumps(ends))
    codes, error = run_workers(job, tmp_path / "handover")
    assert codes == [0], error
    saved = json.loads((Path(job.out) / "model" / "generation_config.json").read_text())
    assert {key: saved[key] for key in ends} == ends, "what ends an answer is not lost"
    manifest = read_manifest(Path(job.out))
    assert manifest.metrics["steps"] == 2
    assert manifest.metrics["samples"] == 8
    assert manifest.metrics["flops"] > 0
    assert not (Path(job.out) / "weak").exists(), "a frozen weak model did not change"
    assert not (Path(job.out) / "checkpoints").exists()


def test_a_disk_that_is_full_at_a_checkpoint(
    tmp_path: Path, small_disk: Callable[[str], Path]
) -> None:
    job = make_joint_job(tmp_path)
    disk = small_disk("1m")
    job = to(job, disk / "trained")
    codes, error = run_workers(job, tmp_path / "first")
    assert codes == [5]
    assert error is not None
    assert error["message"].endswith("the disk is full; free some space or choose another --out")
    assert not Path(job.out).exists()
    assert not list((work_folder(job) / "checkpoints").glob("step-????????"))
    # With space, the same command does it.
    subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
    codes, error = run_workers(job, tmp_path / "second")
    assert codes == [0], error
