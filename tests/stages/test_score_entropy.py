"""score-entropy: the same numbers however it is cut, and every sample exactly once."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from families import make_family
from manifests import edit_manifest
from scipy.special import entr, softmax
from table import make_token_table
from tiny import make_tiny_model

from wmss_cli.core import artifact
from wmss_cli.core.artifact import Job
from wmss_cli.core.config import ScoreConfig
from wmss_cli.core.errors import ConfigError, IntegrityError, InterruptedRunError
from wmss_cli.core.manifest import Manifest, read_manifest
from wmss_cli.core.progress import read_progress
from wmss_cli.core.schema import ENTROPY, read_parquet
from wmss_cli.data.tokens import TokenTable
from wmss_cli.models.causal import load_for_inference
from wmss_cli.stages import score_entropy, table
from wmss_cli.stages.shards import (
    in_order,
    run,
    run_merge,
    run_shard,
    shard_job,
    shard_jobs,
)

SHAPES = [(5, 9), (1, 1), (12, 3), (2, 20), (7, 1), (3, 3), (30, 2)]


@pytest.fixture(scope="module")
def tokens(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_token_table(tmp_path_factory.mktemp("score") / "tokens", tiny_model, SHAPES)


def make_job(out: Path, model: Path, tokens: Path, **options: Any) -> Job:
    config = ScoreConfig(**options)
    inputs = {"model": str(model), "tokens": str(tokens)}
    dumped = config.model_dump(mode="json")
    return Job("score_entropy", dumped, config.identity(), inputs, str(out))


def rows(out: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = read_parquet(out / "entropy.parquet", ENTROPY).to_pylist()
    return found


@pytest.fixture
def job(tmp_path: Path, tiny_model: Path, tokens: Path) -> Job:
    """Three shards, of two or three samples each."""
    return make_job(tmp_path / "entropy", tiny_model, tokens, shards=3)


@pytest.mark.parametrize("family", ["Qwen3", "Gemma2", "Falcon", "Gemma3", "Qwen3_5", "Mamba"])
def test_equals_a_plain_loop_in_double_precision(tmp_path: Path, family: str) -> None:
    """Packed or a row each, with capped logits, as the language part of a multimodal model."""
    folder = make_family(tmp_path / "family", family)
    tokens = make_token_table(tmp_path / "tokens", folder, SHAPES)
    manifest = run(make_job(tmp_path / "entropy", folder, tokens, max_batch_tokens=40))
    model, table = load_for_inference(folder, "fp32").double(), TokenTable(tokens)
    expected = []
    for row in range(len(table)):
        ids = torch.from_numpy(table.input_ids(row).astype("int64"))
        with torch.no_grad():
            logits = model(input_ids=ids[None]).logits[0].numpy()
        per_token = entr(softmax(logits, axis=-1)).sum(axis=-1)
        # The last prompt token predicts the first of the completion; the last predicts nothing.
        expected.append(per_token[table.prompt_lengths[row] - 1 : -1].mean())
    found = rows(tmp_path / "entropy")
    assert [row["entropy"] for row in found] == pytest.approx(expected, rel=1e-5)
    assert [row["completion_tokens"] for row in found] == [shape[1] for shape in SHAPES]
    assert [row["example_id"] for row in found] == table.example_ids
    assert manifest.metrics["samples"] == len(SHAPES)
    assert manifest.metrics["mean_entropy_nats"] == pytest.approx(sum(expected) / len(expected))
    assert manifest.metrics["tokens"] == sum(sum(shape) for shape in SHAPES)


@pytest.mark.parametrize("options", [{"shards": 3}, {"max_batch_tokens": 1}, {"shards": 7}])
def test_neither_shards_nor_batches_change_the_result(
    tmp_path: Path, tiny_model: Path, tokens: Path, options: dict[str, int]
) -> None:
    whole = make_job(tmp_path / "whole", tiny_model, tokens)
    cut = make_job(tmp_path / "cut", tiny_model, tokens, **options)
    # Padding and the order of sums differ, the mathematics does not.
    run(whole)
    run(cut)
    one, many = rows(tmp_path / "whole"), rows(tmp_path / "cut")
    assert [row["example_id"] for row in one] == [row["example_id"] for row in many]
    assert [row["entropy"] for row in one] == pytest.approx([row["entropy"] for row in many])
    assert artifact.describe(whole)[0] == artifact.describe(cut)[0]
    assert not (tmp_path / "cut.shards").exists()


def test_more_shards_than_samples_is_no_harm(
    tmp_path: Path, tiny_model: Path, tokens: Path
) -> None:
    run(make_job(tmp_path / "entropy", tiny_model, tokens, shards=10))
    assert len(rows(tmp_path / "entropy")) == len(SHAPES)


def test_an_interrupted_run_scores_only_the_rest(
    job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    score_a_shard = score_entropy.shard
    begun: list[int] = []

    def interrupted_once(piece: Job) -> Manifest:
        begun.append(piece.config["shard"])
        if begun == [0, 1]:
            raise InterruptedRunError("stopped")
        return score_a_shard(piece)

    monkeypatch.setattr(score_entropy, "shard", interrupted_once)
    with pytest.raises(InterruptedRunError):
        run(job)
    assert not (tmp_path / "entropy").exists()
    assert [path.name for path in (tmp_path / "entropy.shards").glob("0*")] == ["00000-of-00003"]
    run(job)
    assert begun == [0, 1, 1, 2]
    assert len(rows(tmp_path / "entropy")) == len(SHAPES)
    assert not (tmp_path / "entropy.shards").exists()


def test_a_shard_is_an_artifact_with_its_own_rows(job: Job, tokens: Path) -> None:
    ids = TokenTable(tokens).example_ids
    seen = []
    for shard in range(3):
        piece = shard_job(job, shard)
        run_shard(piece)
        assert artifact.finished(piece) is not None
        seen += [row["example_id"] for row in rows(Path(piece.out))]
    assert seen == ids
    assert artifact.finished(job) is None
    with pytest.raises(ConfigError, match="shard 3: there are 3 shards, 0 to 2"):
        shard_job(job, 3)


# Merging.


def scored(job: Job) -> list[Path]:
    """Score all shards and return their folders."""
    for piece in shard_jobs(job):
        run_shard(piece)
    return [Path(piece.out) for piece in shard_jobs(job)]


def test_shards_that_other_jobs_scored_are_merged_without_the_model(
    job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scored(job)
    monkeypatch.setattr(score_entropy, "load_for_inference", None)
    manifest = table.load("score_entropy", merge=True)(job)
    assert artifact.finished(job) == manifest
    assert (manifest.stage, manifest.metrics["samples"]) == ("score_entropy", len(SHAPES))
    assert not (tmp_path / "entropy.shards").exists()


def test_a_missing_shard_is_an_integrity_error(job: Job, tmp_path: Path) -> None:
    shutil.rmtree(scored(job)[1])
    with pytest.raises(IntegrityError, match="shard 1 is missing or older than its inputs; run"):
        run_merge(job)
    assert not (tmp_path / "entropy").exists()
    assert not (tmp_path / "entropy.shards" / "00001-of-00003").exists()


def test_a_shard_that_was_changed_is_an_integrity_error(job: Job) -> None:
    shards = scored(job)
    shutil.copyfile(shards[0] / "entropy.parquet", shards[1] / "entropy.parquet")
    with pytest.raises(IntegrityError, match=r"entropy\.parquet: changed since it was written"):
        run_merge(job)
    assert not Path(job.out).exists()


def test_shards_of_two_precisions_are_not_mixed(job: Job) -> None:
    edit_manifest(scored(job)[2], lambda made: made["metrics"].update(dtype="torch.bfloat16"))
    with pytest.raises(
        IntegrityError,
        match=r"partly in torch\.bfloat16 and partly in torch\.float32; "
        r"set score_entropy\.precision and run score-entropy again with --force",
    ):
        run(job)


def test_a_shard_of_another_model_is_not_mixed_in(job: Job, tmp_path: Path) -> None:
    scored(job)
    other = replace(job, inputs={**job.inputs, "model": str(make_tiny_model(tmp_path / "m", 1))})
    with pytest.raises(ConfigError, match=r"contains another artifact \(made from other inputs"):
        run(other)
    assert not Path(job.out).exists()
    artifact.redo({Path(job.out): artifact.describe(other)[0]})
    run(other)


def test_shards_of_a_token_table_that_was_made_again_are_scored_again(
    tmp_path: Path, tiny_model: Path
) -> None:
    tokens = make_token_table(tmp_path / "tokens", tiny_model, SHAPES)
    job = make_job(tmp_path / "entropy", tiny_model, tokens, shards=3)
    scored(job)
    before = read_manifest(tokens)
    shutil.rmtree(tokens)
    with artifact.open_draft(Job("tokenize", {}, {}, {}, str(tokens))) as draft:
        half = TokenTable(make_token_table(tmp_path / "half", tiny_model, SHAPES[:4]))
        shutil.copyfile(tmp_path / "half" / "tokens.arrow", draft.folder / "tokens.arrow")
        again = replace(draft, fingerprint=before.fingerprint)
        again.commit(before.metrics)
    with pytest.raises(IntegrityError, match="shard 0 is missing or older than its inputs"):
        run_merge(job)
    run(job)
    assert [row["example_id"] for row in rows(tmp_path / "entropy")] == half.example_ids


def entropies(*ids: str) -> pa.Table:
    found = [{"example_id": i, "entropy": float(ord(i)), "completion_tokens": 1} for i in ids]
    return pa.Table.from_pylist(found, schema=ENTROPY)


def test_joined_rows_are_in_the_tables_order(job: Job) -> None:
    joined = in_order(entropies("c", "a", "b"), ["example_id"], [("a",), ("b",), ("c",)], job)
    assert joined["example_id"].to_pylist() == ["a", "b", "c"]
    assert joined["entropy"].to_pylist() == [97.0, 98.0, 99.0]


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ("ab", r"1 missing rows \(first: c\)"),
        ("aabc", r"1 duplicate rows \(first: a\)"),
        ("abcx", r"1 foreign rows \(first: x\)"),
        ("abx", r"1 foreign rows"),
    ],
)
def test_every_row_is_joined_exactly_once(job: Job, ids: str, message: str) -> None:
    with pytest.raises(IntegrityError, match=rf"entropy\.shards: {message}") as caught:
        in_order(entropies(*ids), ["example_id"], [("a",), ("b",), ("c",)], job)
    assert "run score-entropy again with --force" in str(caught.value)


# Preflight.


def test_a_model_with_another_tokenizer_is_refused_before_its_weights_load(
    tmp_path: Path, tokens: Path
) -> None:
    other = make_tiny_model(tmp_path / "other", vocab_size=300)
    (other / "model.safetensors").write_bytes(b"no weights")
    job = make_job(tmp_path / "entropy", other, tokens)
    with pytest.raises(ConfigError, match=r"its tokenizer is not the one that made .*run tokenize"):
        run(job)


# Progress.


def test_a_shard_that_is_a_job_of_its_own_counts_for_itself(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As a killed run leaves it; no process updates it now.
    left = artifact.partial(Path(job.out))
    left.mkdir(parents=True)
    seen = []
    collate = score_entropy.collate

    def noted(*arguments: Any) -> Any:
        seen.append(read_progress(artifact.partial(Path(shard_job(job, 1).out))))
        return collate(*arguments)

    monkeypatch.setattr(score_entropy, "collate", noted)
    run_shard(shard_job(job, 1))
    assert [(p.done, p.total, p.resumed_at) for p in seen if p is not None] == [(0, 2, 0)]
    assert list(left.iterdir()) == []


def test_the_written_table_holds_no_index_and_no_more(tmp_path: Path, job: Job) -> None:
    run(job)
    assert pq.read_schema(tmp_path / "entropy" / "entropy.parquet").names == ENTROPY.names
