"""Model cards: what the hub reads, what a person needs, and equal bytes for equal work."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import ModelCard
from manifests import edit_manifest

from wmss_cli.core.artifact import Job, open_draft
from wmss_cli.core.config import CurateConfig, JointConfig, SftConfig
from wmss_cli.models.card import training_so_far, write_card

ROWS = [
    {"tokens": 1000, "completion_tokens": 800, "loss": 2.5, "strong_loss": 2.25, "seconds": 3.0},
    {
        "tokens": 1200,
        "completion_tokens": 900,
        "loss": 1.234567,
        "strong_loss": 1.5,
        "seconds": 9.0,
    },
]


def make(folder: Path, stage: str, config: Any, metrics: Any, **inputs: Path) -> Job:
    """Put an artifact in place, and return the job that makes it."""
    paths = {role.replace("_", "-"): str(path) for role, path in inputs.items()}
    job = Job(stage, config.model_dump(mode="json"), config.identity(), paths, str(folder))
    with open_draft(job) as draft:
        for name in ("model", "weak"):
            (draft.folder / name).mkdir()
            (draft.folder / name / "config.json").write_text("{}")
        draft.commit(metrics)
    return job


@pytest.fixture
def jobs(tmp_path: Path) -> dict[str, Job]:
    """Return the jobs of a run: curate, tokenize, sft, joint-train."""
    base = tmp_path / "Qwen3-4B-Base"
    base.mkdir()
    (base / "config.json").write_text("{}")
    data = tmp_path / "am.jsonl"
    data.write_text("{}\n")
    run = tmp_path / "run"
    counts = {"records": 5000, "kept": 3000, "rejected": {"duplicate": 1500, "wrong_answer": 500}}
    curate = make(run / "curate", "curate", CurateConfig(), counts, data_0000=data)
    tokens = make(run / "tokens", "tokenize", CurateConfig(), {}, examples=run / "curate")
    sft = make(run / "sft", "sft", SftConfig(epochs=2), {}, strong=base, tokens=run / "tokens")
    joint = make(
        run / "joint",
        "joint_train",
        JointConfig(mix_lambda=0.4),
        {},
        strong=run / "sft" / "model",
        weak=base,
        tokens=run / "tokens",
    )
    return {job.stage: job for job in (curate, tokens, sft, joint)}


def card_of(folder: Path, job: Job) -> Any:
    folder.mkdir(parents=True, exist_ok=True)
    write_card(folder, job, training_so_far(ROWS))
    return ModelCard.load(folder / "README.md")


@pytest.mark.parametrize("stage", ["sft", "joint_train"])
def test_the_hub_reads_what_it_was_made_from(
    tmp_path: Path, jobs: dict[str, Job], stage: str
) -> None:
    card = card_of(tmp_path / "out" / "model", jobs[stage])
    front = yaml.safe_load(card.content.split("---")[1])
    assert front == {
        "base_model": "Qwen3-4B-Base",
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["wmss", stage.replace("_", "-")],
        "datasets": ["am.jsonl"],
    }
    assert card.data.to_dict() == front
    # Not ours to say, and not to be overlooked.
    text = (tmp_path / "out" / "model" / "README.md").read_text()
    assert text.startswith("---\n# license:   # to be filled in by you")


def test_a_person_reads_data_method_metrics_and_command(
    tmp_path: Path, jobs: dict[str, Job]
) -> None:
    text = card_of(tmp_path / "out" / "model", jobs["joint_train"]).text
    for line in (
        "`am.jsonl`: 3,000 of 5,000 records kept by curation.",
        "| rejected: duplicate | 1,500 |",
        "z_mix = λ z_strong + (1 - λ) z_weak",
        "  mix_lambda: 0.4\n",
        "| steps | 2 |",
        "| tokens | 2,200 |",
        "| last loss (nats per token) | 1.235 |",
        "$ wmss joint-train --weak WEAK --strong STRONG --tokens TOKENS --config options.yaml",
    ):
        assert line in text
    options = text.split("## Method")[1].split("```yaml\n")[1].split("```")[0]
    assert JointConfig(**yaml.safe_load(options)["joint"]) == JointConfig(mix_lambda=0.4)


def test_the_command_of_a_second_phase_starts_at_the_first(
    tmp_path: Path, jobs: dict[str, Job]
) -> None:
    first = jobs["sft"]
    inputs = {"strong": f"{first.out}/model", "tokens": first.inputs["tokens"]}
    second = Job("sft", first.config, first.identity, inputs, str(tmp_path / "second"))
    text = card_of(tmp_path / "out" / "model", second).text
    assert "STRONG is the output of `wmss sft`." in text
    assert "$ wmss sft --model STRONG --tokens TOKENS --config options.yaml" in text
    assert "--model Qwen3-4B-Base" in card_of(tmp_path / "first" / "model", first).text
    for role in ("matched", "reference"):
        more = Job("sft", first.config, first.identity, {**inputs, role: first.out}, second.out)
        assert (
            "It is an arm of a study of `wmss run`" in card_of(tmp_path / role / "model", more).text
        )


def test_a_co_trained_weak_model_has_its_own_base(tmp_path: Path, jobs: dict[str, Job]) -> None:
    job = jobs["joint_train"]
    assert "the weak model of joint-train" in card_of(tmp_path / "out" / "weak", job).text
    assert "epoch-1 of joint-train" in card_of(tmp_path / "out" / "epoch-1", job).text


def test_a_model_of_the_hubs_cache_is_named_as_there(tmp_path: Path) -> None:
    snapshot = tmp_path / "models--Qwen--Qwen3-4B-Base" / "snapshots" / "0123abcd"
    snapshot.mkdir(parents=True)
    config = SftConfig()
    inputs = {"strong": str(snapshot)}
    job = Job("sft", config.model_dump(mode="json"), config.identity(), inputs, "out")
    card = card_of(tmp_path / "out" / "model", job)
    assert card.data.base_model == "Qwen/Qwen3-4B-Base"
    assert "datasets" not in card.data.to_dict()


def test_a_manifest_of_another_tool_is_no_obstacle(tmp_path: Path) -> None:
    base = tmp_path / "downloads" / "base"
    base.mkdir(parents=True)
    (tmp_path / "downloads" / "manifest.json").write_text('{"files": []}')
    config = SftConfig()
    inputs = {"strong": str(base)}
    job = Job("sft", config.model_dump(mode="json"), config.identity(), inputs, "out")
    assert card_of(tmp_path / "out" / "model", job).data.base_model == "base"


def test_equal_work_gives_equal_bytes_wherever_and_however_it_is_done(
    tmp_path: Path, jobs: dict[str, Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    job = jobs["sft"]
    card_of(tmp_path / "first" / "model", job)
    first = (tmp_path / "first" / "model" / "README.md").read_bytes()
    assert str(tmp_path).encode() not in first
    # Moved, slower, and cut into other micro-batches.
    shutil.move(tmp_path / "run", tmp_path / "elsewhere")
    monkeypatch.chdir(tmp_path)
    inputs = {"strong": "Qwen3-4B-Base", "tokens": "elsewhere/tokens"}
    config = SftConfig(epochs=2, micro_batch_tokens=64, save_every_steps=1)
    moved = Job("sft", config.model_dump(mode="json"), config.identity(), inputs, "out")
    there, here = str(tmp_path / "run"), str(tmp_path / "elsewhere")
    edit_manifest(
        tmp_path / "elsewhere" / "tokens",
        lambda made: made.update(json.loads(json.dumps(made).replace(there, here))),
    )
    for row in ROWS:
        monkeypatch.setitem(row, "seconds", 100.0)
    card_of(tmp_path / "second" / "model", moved)
    assert (tmp_path / "second" / "model" / "README.md").read_bytes() == first
