"""What is told of a step: its MFU, its share of the limit, the memory, and the time left."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from ranks import run_ranks
from transformers import AutoModelForCausalLM, PreTrainedModel, Qwen3MoeConfig, Qwen3MoeForCausalLM

from wmss_cli.models.shape import ModelShape, train_flops
from wmss_cli.train import meter as meter_module
from wmss_cli.train.meter import Meter, StepCost
from wmss_cli.train.pair import WeakStrongPair
from wmss_cli.train.ranks import Ranks

LENGTHS = [7, 3, 5]
HEAD_TOKENS = 9


@pytest.fixture
def alone() -> Iterator[Ranks]:
    """A process group of this process."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield Ranks(0, 1)
    dist.destroy_process_group()


def load(folder: Path) -> PreTrainedModel:
    return AutoModelForCausalLM.from_pretrained(folder)


def mixture_of_experts() -> PreTrainedModel:
    sizes = {"hidden_size": 32, "intermediate_size": 32, "moe_intermediate_size": 16}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 16}
    config = Qwen3MoeConfig(vocab_size=64, num_hidden_layers=1, num_experts=2, **sizes, **heads)
    return Qwen3MoeForCausalLM(config)


def test_a_share_is_needed_flops_by_time_and_rate(tiny_model: Path, alone: Ranks) -> None:
    cost = StepCost.of_pair(WeakStrongPair(load(tiny_model)))
    needed = cost.flops(LENGTHS, HEAD_TOKENS)
    # The step takes 4 s for what the machine could do in 1 s.
    meter = Meter(10, rate_flops_per_s=needed, cost=cost, data_sheet_flops_per_s=2 * needed)
    told = meter.measure(1, 4.0, LENGTHS, HEAD_TOKENS, alone)
    assert (told["share_of_limit"], told["mfu"]) == (0.25, 0.125)
    assert told["seconds_left"] == 9 * 4.0
    assert told["peak_memory_gb"] > 0.01  # type: ignore[operator]


@pytest.mark.parametrize("weak_mode", ["cotrain", "frozen"])
def test_the_models_that_train_are_counted(tiny_model: Path, weak_mode: str) -> None:
    pair = WeakStrongPair(load(tiny_model), load(tiny_model), 0.5, weak_mode)  # type: ignore[arg-type]
    shape = ModelShape.of_folder(tiny_model)
    expected = train_flops(shape, shape, weak_mode, LENGTHS, HEAD_TOKENS)  # type: ignore[arg-type]
    assert StepCost.of_pair(pair).flops(LENGTHS, HEAD_TOKENS) == expected


def test_time_left_follows_the_last_steps_and_forgets_the_first(alone: Ranks) -> None:
    meter = Meter(steps=100, rate_flops_per_s=1.0, cost=None)

    def left(step: int, seconds: float) -> float | None:
        return meter.measure(step, seconds, LENGTHS, HEAD_TOKENS, alone)["seconds_left"]

    assert left(1, 60.0) == 99 * 60.0, "better than nothing"
    assert left(2, 1.0) == 98
    # One slow step says nothing about the rest.
    assert left(3, 1.0) == 97
    assert left(4, 50.0) == 96
    for step in range(5, 30):
        slower = left(step, 2.0)
    assert slower == 71 * 2.0
    assert left(100, 2.0) == 0


def test_the_limit_is_measured_and_said(
    tiny_model: Path, alone: Ranks, capsys: pytest.CaptureFixture[str]
) -> None:
    meter = Meter.start(WeakStrongPair(load(tiny_model)), torch.float32, 5, alone)
    assert meter.rate_flops_per_s > 1e7
    told = meter.measure(1, 1.0, LENGTHS, HEAD_TOKENS, alone)
    assert told["share_of_limit"] is not None
    # No data sheet gives bf16 products for a CPU.
    assert told["mfu"] is None
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("the limit is ")
    assert line.endswith(" TFLOP/s, the rate of torch.float32 matrix products")


def test_where_flops_cannot_be_counted_it_is_said_once(
    alone: Ranks, capsys: pytest.CaptureFixture[str]
) -> None:
    meter = Meter.start(WeakStrongPair(mixture_of_experts()), torch.float32, 5, alone)
    told = [meter.measure(step, 1.0, LENGTHS, HEAD_TOKENS, alone) for step in (1, 2)]
    assert [(row["mfu"], row["share_of_limit"]) for row in told] == [(None, None)] * 2
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("mfu and share_of_limit are unknown: strong model: qwen3_moe is a")


@pytest.mark.parametrize(
    ("name", "dtype", "mfu"),
    [
        ("NVIDIA H800", torch.bfloat16, 0.5),
        ("NVIDIA H800", torch.float32, None),
        ("Unheard of", torch.bfloat16, None),
    ],
)
def test_mfu_is_by_the_data_sheet_of_the_gpu(
    tiny_model: Path,
    alone: Ranks,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    dtype: torch.dtype,
    mfu: float | None,
) -> None:
    """The name of the GPU is all that is played: this machine has none."""
    monkeypatch.setattr(meter_module, "device", lambda: torch.device("cuda"))
    monkeypatch.setattr(meter_module, "matrix_product_rate", lambda *_: 1e12)
    monkeypatch.setattr(meter_module, "forget_peak", lambda _: None)
    monkeypatch.setattr(meter_module, "peak_memory_bytes", lambda _: 0)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: name)
    pair = WeakStrongPair(load(tiny_model))
    meter = Meter.start(pair, dtype, 5, alone)
    seconds = 2 * StepCost.of_pair(pair).flops(LENGTHS, HEAD_TOKENS) / 989e12
    assert meter.measure(1, seconds, LENGTHS, HEAD_TOKENS, alone)["mfu"] == mfu


@pytest.mark.slow
def test_ranks_agree_on_the_limit_and_on_the_peak(tiny_model: Path, tmp_path: Path) -> None:
    worker = Path(__file__).with_name("meter_worker.py")
    run_ranks(worker, [str(tiny_model), str(tmp_path)], world_size=2)
    first, second = (json.loads((tmp_path / name).read_text()) for name in ("0", "1"))
    assert first["rate"] == second["rate"]
    assert first["told"] == second["told"]
    assert first["told"]["peak_memory_gb"] == max(first["own_gb"], second["own_gb"])
    # The second rank holds more.
    assert second["own_gb"] > first["own_gb"]
