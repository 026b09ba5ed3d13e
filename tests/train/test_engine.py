"""DeepSpeed as it is configured: how it sends, keeps and recomputes changes no result."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from engine_worker import BLOCK, CASES, HEAD, SIZES
from families import config_of, model_class
from ranks import run_ranks
from transformers import Qwen3Config, Qwen3ForCausalLM

from wmss_cli.core.config import SftConfig
from wmss_cli.core.errors import ConfigError
from wmss_cli.models.packed import blocks_of
from wmss_cli.train import buckets
from wmss_cli.train.engine import deepspeed_config, mark_recomputed, parameter_groups
from wmss_cli.train.pair import WeakStrongPair

PLAIN = "zero2-waiting"
"""What the others are compared with."""

Results = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    out = tmp_path_factory.mktemp("engine") / "results.json"
    run_ranks(Path(__file__).with_name("engine_worker.py"), [str(out), *CASES], 2)
    found: Results = json.loads(out.read_text())
    return found


@pytest.mark.slow
@pytest.mark.parametrize("case", [case for case in CASES if case != PLAIN])
def test_how_it_is_sharded_and_sent_changes_no_result(results: Results, case: str) -> None:
    first, second = results[PLAIN]["losses"]
    assert second != pytest.approx(first, rel=1e-3), "nothing was learned: nothing was compared"
    assert results[case]["losses"] == pytest.approx(results[PLAIN]["losses"], rel=1e-6)
    assert results[case]["norms"] == pytest.approx(results[PLAIN]["norms"], rel=1e-5)


@pytest.mark.slow
def test_blocks_are_gathered_before_they_are_needed(results: Results) -> None:
    """With DeepSpeed's own sizes, on the scale of these models, all are gathered on demand."""
    shipped, ours = (results[case]["gathers"] for case in ("zero3-as-shipped", "zero3"))
    assert "ahead" not in shipped
    # Both heads, at the start of each of two passes.
    assert ours["on demand"] == 4
    assert ours["ahead"] > 300
    assert sum(ours.values()) < sum(shipped.values())


@pytest.mark.slow
def test_the_sizes_follow_from_the_heads_and_the_blocks(results: Results) -> None:
    zero = results["zero3"]["zero"]
    reuse = zero["stage3_max_reuse_distance"]
    expected = buckets.live_parameters(2 * HEAD, 2 * BLOCK, reuse)
    assert zero["stage3_max_live_parameters"] == expected


@pytest.mark.slow
def test_memory_that_runs_out_on_one_rank_halves_the_passes_of_all(results: Results) -> None:
    for tokens, mode, same_after_resume, tried, gradients in results["zero2-tried"]["decided"]:
        assert (tokens, mode) == (4096, "full")
        assert same_after_resume
        assert tried == [8192], "a resume takes what was decided, and tries nothing"
        assert gradients == 0


def test_a_pair_of_8b_models_may_gather_ahead_of_its_heads() -> None:
    head, block = 151_936 * 4096, 192_946_432
    prefetch = buckets.prefetch_bucket(block)
    assert prefetch == 2 * block
    assert buckets.live_parameters(2 * head, prefetch) == pytest.approx(3e9, rel=0.02)


def test_a_bucket_of_zero_2_holds_the_largest_gradient() -> None:
    head = 151_936 * 4096
    assert buckets.reduce_bucket(2, head) == head > buckets.BUCKET
    assert buckets.reduce_bucket(3, head) == buckets.reduce_bucket(2, 1000) == buckets.BUCKET


@pytest.mark.parametrize(
    ("zero", "said"),
    [
        ({"reduce_bucket_size": HEAD - 1}, f"than the {HEAD} elements of the largest weight"),
        ({"reduce_bucket_size": "much"}, "reduce_bucket_size Input should be a valid integer"),
    ],
)
def test_values_that_cannot_work_are_refused_before_anything_is_sharded(
    zero: dict[str, Any], said: str
) -> None:
    pair = WeakStrongPair(Qwen3ForCausalLM(Qwen3Config(**SIZES)))
    config = SftConfig(zero_stage=2, deepspeed={"zero_optimization": zero})
    with pytest.raises(ConfigError, match=said):
        deepspeed_config(pair, config)


def test_every_second_block_is_marked() -> None:
    pair = WeakStrongPair(Qwen3ForCausalLM(Qwen3Config(**SIZES)))
    for mode, marks in (
        ("full", [1] * 6),
        ("every-2nd", [0, 1] * 3),
        ("every-4th", [0, 0, 0, 1, 0, 0]),
    ):
        mark_recomputed(pair, mode)
        assert [block.gradient_checkpointing for block in blocks_of(pair.strong)] == marks


@pytest.mark.parametrize(
    ("family", "options", "exempt"),
    [
        ("GptOss", {}, ["gate_up_proj_bias", "down_proj_bias"]),
        ("Cohere", {"use_qk_norm": True}, ["q_norm.weight", "k_norm.weight"]),
        ("Qwen3", {}, ["q_norm.weight", "input_layernorm.weight"]),
    ],
)
def test_norms_and_biases_do_not_decay_whatever_their_shape(
    family: str, options: dict[str, Any], exempt: list[str]
) -> None:
    config = config_of(family, 64)
    for name, value in options.items():
        setattr(config, name, value)
    pair = WeakStrongPair(model_class(config)(config))
    kept, left = (group["params"] for group in parameter_groups(pair, 0.1))
    names = {parameter: name for name, parameter in pair.named_parameters()}
    assert all(any(names[p].endswith(end) for p in left) for end in exempt)
    assert not any("norm" in names[p] or names[p].endswith("bias") for p in kept)
    assert any(names[p].endswith("embed_tokens.weight") for p in kept)
