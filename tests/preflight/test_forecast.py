"""The forecast: which GPUs, which samples, what fits, and how long it takes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wmss_cli.core.config import Config, JointConfig, SftConfig
from wmss_cli.core.errors import ConfigError
from wmss_cli.core.recomputation import every
from wmss_cli.models.shape import ModelShape, train_flops
from wmss_cli.preflight.forecast import Forecast, TrainingForecast, forecast, forecast_shapes
from wmss_cli.preflight.inputs import Answers, Gpus, Rates, gpus_of
from wmss_cli.preflight.workload import Workload, spread, workload
from wmss_cli.slurm.profile import Profile, Resources, load_profile

QWEN3_4B: dict[str, Any] = {
    "model_type": "qwen3",
    "hidden_size": 2560,
    "num_hidden_layers": 36,
    "intermediate_size": 9728,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "vocab_size": 151936,
    "tie_word_embeddings": True,
}
SHAPE = ModelShape.of_config(QWEN3_4B)
NODE = Gpus(nodes=1, per_node=8, mem_gb=80, tflops=989)
WORK = Workload(1000, [3000], 2500.0, 8192, "options")
NO_TASKS = Answers((), 1, 500, 2500)


def of(config: Config, gpus: Gpus = NODE, work: Workload = WORK) -> Forecast:
    return forecast_shapes(config, {"": SHAPE}, gpus, work, NO_TASKS)


def joint(gpus: Gpus = NODE, **options: Any) -> TrainingForecast:
    return of(Config(joint=JointConfig(**options)), gpus).trainings[1]


def refusal(*arguments: Any, **options: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        gpus_of(*arguments, **options)
    return str(caught.value)


# GPUs.


def test_the_gpus_are_those_of_the_profiles_training_jobs() -> None:
    found = gpus_of(load_profile("h800:8b"))
    assert (found.nodes, found.per_node, found.mem_gb, found.tflops) == (2, 8, 80, 989)
    assert (found.link_gb_per_s, found.network_gb_per_s, found.shards_at_once) == (200, 400, 32)
    assert (found.disk_gb_per_s, found.assumed) == (1.0, ())


def test_what_is_given_counts_more_than_the_profile() -> None:
    assert gpus_of(load_profile("h800"), nodes=8, mem_gb=141).count == 64
    alone = gpus_of(None, gpus=4, mem_gb=24, tflops=165)
    assert (alone.count, alone.mem_gb, alone.tflops, alone.shards_at_once) == (4, 24, 165, None)
    one = gpus_of(load_profile("h800:8b").model_copy(update={"disk_gb_per_s": 7.0}), gpus=4)
    assert (one.nodes, one.per_node, one.mem_gb, one.link_gb_per_s) == (1, 4, 80, 200)
    assert (one.disk_gb_per_s, one.shards_at_once, one.assumed) == (7.0, None, ())


def test_what_is_assumed_of_the_links_is_said() -> None:
    profile = Profile(gpu_mem_gb=80, gpu_tflops=1, train=Resources(nodes=2, gpus_per_node=1))
    link, network = gpus_of(profile).assumed
    assert link.startswith("200 GB/s from a GPU to those of its node; gpu_link_gb_per_s")
    assert network.startswith("50 GB/s from a node to the others; node_network_gb_per_s")


def test_what_is_not_known_of_the_gpus_is_asked_for() -> None:
    assert refusal(None).startswith("on which GPUs? Give --profile")
    assert refusal(None, gpus=4) == (
        "gpu_mem_gb and gpu_tflops of the GPUs are not known; give --gpu-mem-gb and --gpu-tflops, "
        "or in the profile gpu_mem_gb and gpu_tflops or a train.gpu_type such as h100"
    )
    one = refusal(None, gpus=4, mem_gb=80)
    assert one.startswith("gpu_tflops of the GPUs is not known; give --gpu-tflops, or in")
    assert refusal(load_profile("generic-gpu"), mem_gb=80).startswith("gpu_tflops of the GPUs")
    cpus = Profile(gpu_mem_gb=80, gpu_tflops=1, train=Resources(nodes=2))
    assert refusal(cpus).startswith("train.gpus_per_node of the profile is 0")
    assert refusal(load_profile("h800"), nodes=2, gpus=8).startswith("--gpus and --nodes")


# Samples.


def test_samples_that_are_given() -> None:
    work = workload(Config(), samples=10, mean_tokens=300)
    assert (work.samples, work.mean_tokens, work.completion_tokens) == (10, 300, 300)
    assert work.longest == Config().tokenize.max_seq_len
    (lengths,) = work.assumed
    assert lengths == "lengths spread evenly from 2 to 598 tokens; the token table replaces it"


def test_without_a_token_table_samples_are_assumed_and_said(tmp_path: Path) -> None:
    work = workload(Config(run_dir=str(tmp_path)))
    assert (work.samples, work.mean_tokens, work.completion_tokens) == (215_000, 4096, 3840)
    assert work.source == "assumptions"
    samples, tokens, _ = work.assumed
    assert samples == "215,000 samples, as in AM-1.4M; --samples replaces it"
    assert tokens.endswith("--mean-tokens and --mean-completion-tokens replace it")
    short = workload(Config.model_validate({"tokenize": {"max_seq_len": 128}}), samples=10)
    assert (short.samples, short.mean_tokens, max(short.lengths)) == (10, 128, 128)


@given(mean=st.integers(1, 5000), more=st.integers(0, 9000))
def test_spread_lengths_have_their_mean_and_stay_within(mean: int, more: int) -> None:
    lengths = spread(mean, mean + more)
    assert sum(lengths) == mean * len(lengths)
    assert min(lengths) >= 1
    assert max(lengths) <= mean + more


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"samples": 10, "mean_tokens": 9000}, "is above tokenize.max_seq_len 8192"),
        (
            {"samples": 10, "mean_tokens": 10, "mean_completion_tokens": 11},
            "--mean-completion-tokens is above --mean-tokens",
        ),
    ],
)
def test_samples_that_cannot_be_are_refused(given: dict[str, int], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        workload(Config(), **given)
    assert message in str(caught.value)


# Memory.


def test_the_lowest_stage_that_fits_is_the_one_to_use() -> None:
    found = joint(gradient_checkpointing=True, zero_stage=2)
    assert [row.zero_stage for row in found.zero if row.fits] == [2, 3]
    assert (found.use_zero_stage, found.warnings) == (2, [])


def test_a_stage_that_does_not_fit_is_warned_of() -> None:
    found = joint(gradient_checkpointing=True, zero_stage=1)
    assert found.warnings == ["zero_stage 1 does not fit; set zero_stage 2"]


def test_where_nothing_fits_it_says_what_would() -> None:
    small = Gpus(1, 8, 48, 300)
    found = joint(small)
    assert found.use_zero_stage is None
    (warning,) = found.warnings
    assert warning == (
        "no ZeRO stage fits 8,192 tokens; with gradient_checkpointing full, zero_stage 3 fits"
    )
    assert joint(small, gradient_checkpointing=True).use_zero_stage == 3
    (warning,) = joint(Gpus(1, 2, 48, 300)).warnings
    more = int(warning.removesuffix(" GPUs").rpartition(" ")[2])
    assert joint(Gpus(1, more, 48, 300), gradient_checkpointing=True).use_zero_stage == 3
    fewer = joint(Gpus(1, more - 2, 48, 300), gradient_checkpointing=True)
    assert fewer.use_zero_stage is None
    (warning,) = joint(Gpus(1, 8, 8, 300)).warnings
    assert "more GPUs do not help" in warning


def test_a_pass_is_as_long_as_the_longest_sample() -> None:
    assert joint(micro_batch_tokens=1024).micro_batch_tokens == 8192
    assert joint(micro_batch_tokens=16384).micro_batch_tokens == 16384


def test_auto_is_the_longest_pass_that_fits_with_all_blocks_recomputed() -> None:
    options = {"micro_batch_tokens": "auto", "zero_stage": 2, "global_batch_size": 1024}
    found = joint(**options, gradient_checkpointing="auto")
    full = joint(**options, gradient_checkpointing="full")
    (row,) = [row for row in full.zero if row.zero_stage == 2]
    assert found.micro_batch_tokens == row.largest_micro_batch_tokens // 1024 * 1024 > 16384
    assert found.warnings == []


def test_auto_is_no_longer_than_a_gpus_part_of_a_step() -> None:
    found = joint(micro_batch_tokens="auto", gradient_checkpointing="full", zero_stage=2)
    # 32 samples of 3,000 tokens on 8 GPUs, and one sample of 8,192 more.
    assert found.micro_batch_tokens == 20 * 1024


def test_auto_recomputes_no_more_blocks_than_memory_needs() -> None:
    modes = [
        joint(Gpus(8, 8, size, 989), gradient_checkpointing="auto", zero_stage=2)
        for size in (40, 110, 141, 282)
    ]
    assert [found.gradient_checkpointing for found in modes][::3] == ["full", "none"]
    numbers = [every(found.gradient_checkpointing) or 99 for found in modes]
    assert numbers == sorted(numbers)
    assert len(set(numbers)) == 4
    for found in modes:
        (row,) = [row for row in found.zero if row.zero_stage == 2]
        assert row.fits


def test_zero_0_is_for_fp32_alone() -> None:
    assert [row.zero_stage for row in joint().zero] == [1, 2, 3]
    assert [row.zero_stage for row in joint(precision="fp32").zero] == [0, 1, 2, 3]
    found = joint(zero_stage=0, gradient_checkpointing=True)
    assert found.warnings == ["zero_stage 0 is for fp32, and GPUs use bf16; set zero_stage 2"]


def test_a_batch_smaller_than_the_gpus_is_warned_of() -> None:
    found = joint(Gpus(8, 8, 80, 989), gradient_checkpointing=True, zero_stage=2)
    assert found.warnings == [
        "global_batch_size 32 is less than 64 GPUs; joint-train will not start"
    ]


@given(nodes=st.integers(1, 16), micro=st.integers(1, 40_000), checkpointing=st.booleans())
def test_what_is_said_of_a_stage_adds_up(nodes: int, micro: int, checkpointing: bool) -> None:
    found = joint(
        Gpus(nodes, 8, 80, 989), micro_batch_tokens=micro, gradient_checkpointing=checkpointing
    )
    for row in found.zero:
        state = row.weights_bytes + row.gradients_bytes + row.optimizer_bytes + row.buffers_bytes
        assert row.peak_bytes == state + max(row.micro_batch_bytes, row.step_copies_bytes)
        assert row.fits == (row.largest_micro_batch_tokens >= found.micro_batch_tokens)


# Work.


@pytest.mark.parametrize("mode", ["cotrain", "frozen"])
def test_flops_are_those_of_the_shape(mode: Any) -> None:
    found = joint(weak_mode=mode, epochs=2.0)
    assert found.flops == pytest.approx(2000 * train_flops(SHAPE, SHAPE, mode, [3000], 2500))
    assert (found.steps, found.tokens, found.recomputed_flops) == (63, 6_000_000, 0)


def test_recomputing_is_one_more_pass_of_what_learns_without_its_head() -> None:
    forward = 1000 * SHAPE.forward_flops([3000], 0)
    assert joint(gradient_checkpointing=True).recomputed_flops == 2 * forward
    frozen = joint(gradient_checkpointing=True, weak_mode="frozen")
    assert frozen.recomputed_flops == forward


# Time: test_step_time.py has its parts.


def test_hours_are_the_sum_of_their_parts_and_mfu_is_of_the_steps() -> None:
    found = joint(Gpus(2, 8, 80, 989), gradient_checkpointing=True)
    peak = 16 * 989e12
    assert found.computing_hours == pytest.approx(
        (found.flops + found.recomputed_flops) / (0.4 * peak) / 3600
    )
    steps = found.computing_hours + found.waiting_hours + found.communication_hours
    assert found.hours == pytest.approx(steps + found.saving_hours)
    assert found.gpu_hours == pytest.approx(16 * found.hours)
    assert found.mfu == pytest.approx(found.flops / (3600 * steps * peak))
    assert found.mfu < found.mfu_with_recomputation < 0.4


def test_a_measured_mfu_replaces_the_parts_of_a_step() -> None:
    config = Config(joint=JointConfig(gradient_checkpointing=True))
    found = forecast_shapes(config, {"": SHAPE}, NODE, WORK, NO_TASKS, Rates(mfu=0.2)).trainings[1]
    assert found.computing_hours == pytest.approx(found.flops / (0.2 * 8 * 989e12) / 3600)
    assert (found.waiting_hours, found.communication_hours) == (0, 0)
    assert found.mfu == pytest.approx(0.2)


def test_steps_stop_at_max_steps_and_the_active_set_follows_its_multiplier() -> None:
    config = Config.model_validate(
        {"sft": {"max_steps": 3}, "curriculum": {"multiplier": 0.5}, "iterations": 2}
    )
    sft, joint_train = of(config).trainings
    assert (sft.steps, sft.samples, sft.runs) == (3, 96, 1)
    assert (joint_train.steps, joint_train.samples, joint_train.runs) == (16, 500, 2)


def test_uniform_weak_logits_need_no_weak_model() -> None:
    assert joint(weak_logits="uniform").parameters == SHAPE.parameters
    assert joint().parameters == 2 * SHAPE.parameters
    assert joint(weak_mode="frozen").trained_parameters == SHAPE.parameters


def test_disk_is_for_kept_checkpoints_one_more_and_the_models() -> None:
    sft = of(Config(sft=SftConfig(keep_checkpoints=3))).trainings[0]
    # bf16 weights; fp32 master weights and moments.
    assert sft.checkpoint_bytes == 14 * SHAPE.parameters
    assert sft.disk_bytes == 4 * sft.checkpoint_bytes + 2 * SHAPE.parameters
    epochs = joint(epochs=2.5, keep_epochs=True).disk_bytes - joint(epochs=2.5).disk_bytes
    assert epochs == 2 * 2 * SHAPE.parameters


# Models.


def test_the_cached_states_of_a_frozen_weak_model_take_disk_too() -> None:
    without = joint(weak_mode="frozen").disk_bytes
    states = WORK.samples * WORK.completion_tokens * SHAPE.hidden_size * 2
    assert joint(weak_mode="frozen", cache_weak=True).disk_bytes == without + states


def test_later_epochs_over_cached_states_cost_no_weak_model() -> None:
    cached = [joint(weak_mode="frozen", cache_weak=True, epochs=n).flops for n in (1.0, 3.0)]
    computed = [joint(weak_mode="frozen", epochs=n).flops for n in (1.0, 3.0)]
    assert cached[0] == computed[0]
    saved = 2 * SHAPE.forward_flops(WORK.lengths, 0) * WORK.samples / len(WORK.lengths)
    assert computed[1] - cached[1] == pytest.approx(saved)


def test_a_config_json_is_enough(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(QWEN3_4B))
    config = Config(model=str(tmp_path))
    assert forecast(config, NODE, WORK, NO_TASKS).trainings == of(config).trainings


def test_the_name_of_a_base_model_is_enough() -> None:
    found = forecast(Config(model="somewhere/Qwen3-4B-Base"), NODE, WORK, NO_TASKS)
    assert found.assumed[0] == (
        "the sizes of Qwen/Qwen3-4B-Base as published; its config.json replaces them"
    )
    assert found.trainings[1].parameters == 2 * 4_022_468_096


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (None, "model is not set"),
        ("someone/not-here", "someone/not-here: neither a folder here nor in the local cache"),
        ("./nowhere", "nowhere: no config.json"),
    ],
)
def test_a_model_that_is_not_here_is_one_line(model: str | None, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        forecast(Config(model=model), NODE, WORK, NO_TASKS)
    assert str(caught.value).startswith(message)
