"""When a training job is told to save: early enough for its checkpoint."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from slurm.plans import group

from wmss_cli.core.config import JointConfig, SftConfig
from wmss_cli.core.errors import ConfigError
from wmss_cli.models.shape import ModelShape
from wmss_cli.slurm.chain import Link, chain, lead_seconds
from wmss_cli.slurm.profile import Profile, Resources
from wmss_cli.slurm.script import parameters
from wmss_cli.stages.plan import Plan, external

QWEN3_4B = {
    "model_type": "qwen3",
    "vocab_size": 151936,
    "hidden_size": 2560,
    "intermediate_size": 9728,
    "num_hidden_layers": 36,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "tie_word_embeddings": True,
}
GPUS = Resources(tasks_per_node=8, gpus_per_node=8, time_limit_min=1440)
PROFILE = Profile(train=GPUS)


def links(folder: Path, profile: Profile, model: dict[str, object] = QWEN3_4B) -> dict[str, Link]:
    """Return the links of a fine-tuning and two joint trainings after it, by label."""
    (folder / "base").mkdir(exist_ok=True)
    (folder / "base/config.json").write_text(json.dumps(model))
    (folder / "data.jsonl").write_text("{}\n")
    plan = Plan(folder / "run")
    base, tokens = external(folder / "base"), external(folder / "data.jsonl")
    first = {"tokens": tokens, "strong": base}
    trained = plan.add("sft", "sft", SftConfig(zero_stage=2), first)
    both = {"tokens": tokens, "strong": trained.part("model"), "weak": base}
    joint = plan.add("joint", "joint_train", JointConfig(zero_stage=3), both)
    more = {"tokens": tokens, "strong": joint.part("model"), "weak": joint.part("weak")}
    plan.add("frozen", "joint_train", JointConfig(zero_stage=1, weak_mode="frozen"), more)
    return {link.step.label: link for link in chain([group(plan.steps, profile)])}


def leads(folder: Path, profile: Profile) -> dict[str, int]:
    found = links(folder, profile)
    return {label: parameters(link, None)["signal_delay_s"] for label, link in found.items()}


def test_it_follows_from_the_configuration_before_the_models_exist(tmp_path: Path) -> None:
    count = ModelShape.of_config(QWEN3_4B).parameters
    # Two checkpoints, a step, and a minute that Slurm may be early.
    expected = {"sft": 2 * 14 * count, "joint": 2 * 2 * 12 * count, "frozen": 2 * 14 * count}
    for rate in (1.0, 4.0):
        found = leads(tmp_path, PROFILE.model_copy(update={"disk_gb_per_s": rate}))
        for label, size in expected.items():
            assert found[label] == pytest.approx(120 + size / rate / 1e9, abs=1)
    assert leads(tmp_path, PROFILE)["joint"] > 300


def test_what_a_profile_says_counts(tmp_path: Path) -> None:
    said = GPUS.model_copy(update={"signal_lead_s": 90})
    assert set(leads(tmp_path, Profile(train=said)).values()) == {90}


def test_a_model_that_cannot_be_counted_gets_the_usual_lead_and_a_reason(tmp_path: Path) -> None:
    found = links(tmp_path, PROFILE, QWEN3_4B | {"model_type": "unheard-of"})
    assert {link.lead.seconds for link in found.values()} == {120}
    for link in found.values():
        assert link.lead.unknown is not None
        assert "unheard-of" in link.lead.unknown


def test_a_small_checkpoint_needs_no_longer_than_before() -> None:
    assert lead_seconds(10**6, 1.0) == 121
    assert lead_seconds(0, 1.0) == 120


def test_a_limit_without_room_for_it_is_refused(tmp_path: Path) -> None:
    short = Profile(train=GPUS.model_copy(update={"time_limit_min": 6}))
    with pytest.raises(ConfigError, match=r"joint: saving begins \d+ s before the limit"):
        leads(tmp_path, short)
