"""The tables of ``plan.md``: pairs of Qwen3 models on nodes of eight H800, and a study."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from wmss_cli.cli.plan_tables import (
    MEMORY_COLUMNS,
    STUDY_COLUMNS,
    amount,
    memory_cells,
    power_rows,
    study_rows,
)
from wmss_cli.core.config import Config, JointConfig
from wmss_cli.launch.forecast import Forecast, forecast_shapes
from wmss_cli.launch.forecast_inputs import Answers, Rates, Workload, answers_of, gpus_of
from wmss_cli.launch.power_forecast import forecast_power
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
QWEN25_3B: dict[str, Any] = {
    "model_type": "qwen2",
    "num_hidden_layers": 36,
    "hidden_size": 2048,
    "intermediate_size": 11008,
    "num_attention_heads": 16,
    "num_key_value_heads": 2,
    "vocab_size": 151936,
    "tie_word_embeddings": True,
}
NODES = (1, 8)
WORK = Workload(215_000, [4096], 3840, 8192, "an assumption")
RATES = Rates(share=0.4, generation=0.05)
NO_TASKS = Answers((), 1, 256, 3840)

_TRAINING = {"zero_stage": 2, "gradient_checkpointing": True, "global_batch_size": 128}
TABLE_1 = Config.model_validate(
    {
        "arms": ["sft", "neftune", "undial", "wmss"],
        "seeds": [0, 1, 2],
        "tasks": [
            "aime2025",
            "math500",
            "amc23",
            "aqua",
            "gsm8k",
            "mawps",
            "svamp",
            "humaneval",
            "mbpp",
        ],
        "sft": _TRAINING,
        "joint": _TRAINING,
    }
)
"""What ``configs/paper-table1.yaml`` says of the work."""
SEEDS = (1, 3, 5, 10)
_GB = 1e9


def _forecasts() -> Iterator[tuple[str, bool, Forecast]]:
    for name, model in MODELS.items():
        for nodes in NODES:
            for checkpointing in (True, False):
                section = JointConfig(gradient_checkpointing=checkpointing, zero_stage=2)
                gpus = gpus_of(load_profile("h800"), nodes)
                shape = ModelShape.of_config(model)
                config = Config(joint=section)
                found = forecast_shapes(config, {"": shape}, gpus, WORK, NO_TASKS, RATES)
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


def tables() -> dict[str, list[list[str]]]:
    """Return all tables by name; the first row of each is its head."""
    return {
        "memory": memory_rows(),
        "work": work_rows(),
        "study": [list(STUDY_COLUMNS), *study_rows(_table_1(nodes=1).study)],
        "hours": hours_rows(),
        "power": seeds_rows(),
    }


def hours_rows() -> list[list[str]]:
    """Return the study's GPU-hours by kind of work, and its hours on few and on many GPUs."""
    few, many = (_table_1(nodes) for nodes in NODES)
    rows = [["work", "GPU-hours", *(f"hours on {found.gpus} GPUs" for found in (few, many))]]
    by_kind = {**few.study.kinds, "all": few.study.gpu_hours}
    for kind, hours in by_kind.items():
        rows.append([kind, *(amount(hours / count) for count in (1, few.gpus, many.gpus))])
    return rows


def seeds_rows() -> list[list[str]]:
    """Return the smallest differences of the study with other numbers of seeds."""
    found = []
    for count in SEEDS:
        config = TABLE_1.model_copy(update={"seeds": list(range(count))})
        power = forecast_power(config, answers_of(config, WORK))
        assert power is not None
        found.append(power_rows(power))
    heads = [f"{count} seed{'s' * (count > 1)}" for count in SEEDS]
    rows = [["benchmark", "problems", *heads]]
    for place, (name, problems, *_) in enumerate(found[0]):
        points = [f"{one} / {corrected}" for *_, one, corrected in (of[place] for of in found)]
        rows.append([name, problems, *points])
    return rows


def _table_1(nodes: int) -> Forecast:
    models = {**MODELS, "Qwen2.5-3B": QWEN25_3B}
    shapes = {name: ModelShape.of_config(model) for name, model in models.items()}
    gpus = gpus_of(load_profile("h800"), nodes)
    return forecast_shapes(TABLE_1, shapes, gpus, WORK, answers_of(TABLE_1, WORK), RATES)
