"""The tables of ``plan.md``: pairs of Qwen3 models on nodes of eight H800."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from wmss_cli.cli.plan_commands import MEMORY_COLUMNS, memory_cells
from wmss_cli.core.config import Config, JointConfig
from wmss_cli.launch.forecast import Forecast, forecast_shapes
from wmss_cli.launch.forecast_inputs import Workload, gpus_of
from wmss_cli.launch.profile import load_profile
from wmss_cli.models.shape import ModelShape

_QWEN3: dict[str, Any] = {
    "model_type": "qwen3",
    "num_hidden_layers": 36,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "vocab_size": 151936,
}
MODELS: dict[str, dict[str, Any]] = {
    "Qwen3-4B": {
        **_QWEN3,
        "hidden_size": 2560,
        "intermediate_size": 9728,
        "tie_word_embeddings": True,
    },
    "Qwen3-8B": {
        **_QWEN3,
        "hidden_size": 4096,
        "intermediate_size": 12288,
        "tie_word_embeddings": False,
    },
}
NODES = (1, 8)
WORK = Workload(215_000, [4096], 3840, 8192, "an assumption")
SHARE = 0.4
_GB = 1e9


def _forecasts() -> Iterator[tuple[str, bool, Forecast]]:
    for name, config in MODELS.items():
        for nodes in NODES:
            for checkpointing in (True, False):
                section = JointConfig(gradient_checkpointing=checkpointing, zero_stage=2)
                gpus = gpus_of(load_profile("h800"), nodes)
                shape = ModelShape.of_config(config)
                found = forecast_shapes(Config(joint=section), shape, gpus, WORK, SHARE)
                yield name, checkpointing, found


def memory_rows() -> list[list[str]]:
    """Return what each ZeRO stage holds, a row each."""
    rows = [["pair", "GPUs", "recomputed", *MEMORY_COLUMNS, "fits"]]
    for name, checkpointing, found in _forecasts():
        for row in found.trainings[1].zero:
            where = [name, str(found.gpus), "yes" if checkpointing else "no"]
            rows.append([*where, *memory_cells(row), "**yes**" if row.fits else "no"])
    return rows


def work_rows() -> list[list[str]]:
    """Return time and disk space of each pair, with recomputed activations."""
    rows = [["pair", "GPUs", "ZeRO", "FLOPs", "recomputed", "hours", "GPU-hours", "disk"]]
    for name, checkpointing, found in _forecasts():
        joint = found.trainings[1]
        if checkpointing:
            rows.append(
                [
                    name,
                    str(found.gpus),
                    str(joint.use_zero_stage),
                    f"{joint.flops:.2e}",
                    f"{joint.recomputed_flops:.2e}",
                    f"{joint.hours:.1f}",
                    f"{joint.gpu_hours:.0f}",
                    f"{joint.disk_bytes / _GB:.0f} GB",
                ]
            )
    return rows
