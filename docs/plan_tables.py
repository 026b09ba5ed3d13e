"""The tables of ``plan.md`` and ``reproduce.md``: pairs of models on H800, and studies."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from wmss_cli.cli.plan_tables import (
    MEMORY_COLUMNS,
    STUDY_COLUMNS,
    amount,
    memory_cells,
    power_rows,
    study_rows,
)
from wmss_cli.core.config import Config, JointConfig
from wmss_cli.core.paths import packaged
from wmss_cli.core.resolve import resolve
from wmss_cli.models.published import shape_of
from wmss_cli.preflight.forecast import Forecast, forecast, forecast_shapes
from wmss_cli.preflight.inputs import Answers, answers_of, gpus_of
from wmss_cli.preflight.power import forecast_power
from wmss_cli.preflight.workload import COMPLETION_TOKENS, MEAN_TOKENS, SAMPLES, Workload, spread
from wmss_cli.slurm.profile import load_profile
from wmss_cli.stages.arm_config import config_of, training_section
from wmss_cli.stages.arms import arms_of
from wmss_cli.stages.catalogue import OBJECTIVES

MODELS = {"Qwen3-4B": "Qwen/Qwen3-4B-Base", "Qwen3-8B": "Qwen/Qwen3-8B-Base"}
HUB_IDS = {hub_id.split("/")[1]: hub_id for hub_id in (*MODELS.values(), "Qwen/Qwen2.5-3B")}
TRAINED = [name for name, row in OBJECTIVES.items() if row.stage in ("sft", "joint_train")]
CONFIGURATIONS = ("qwen2.5-3b", "qwen3-4b", "qwen3-8b", "gemma-3-4b", "qwen3.5-4b")
STUDIES = ("paper-table1", "paper-table3", "paper-table4", "paper-table5", "controls")
NODES = (1, 8)
WORK = Workload(SAMPLES, spread(MEAN_TOKENS, 8192), COMPLETION_TOKENS, 8192, "an assumption")
NO_TASKS = Answers((), 1, 256, 3840)

TABLE_1 = resolve(packaged("configs") / "paper-table1.yaml").config
SEEDS = (1, 3, 5, 10)
_GB = 1e9


def _forecasts() -> Iterator[tuple[str, bool, Forecast]]:
    for name in MODELS:
        for nodes in NODES:
            for checkpointing in (True, False):
                yield name, checkpointing, _pair(name, nodes, checkpointing, zero_stage=2)


def _pair(name: str, nodes: int, checkpointing: bool, zero_stage: int) -> Forecast:
    shape, _ = shape_of(MODELS[name])
    section = JointConfig(
        gradient_checkpointing=checkpointing, zero_stage=zero_stage, global_batch_size=128
    )
    gpus = gpus_of(load_profile("h800"), nodes)
    return forecast_shapes(Config(joint=section), {"": shape}, gpus, WORK, NO_TASKS)


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
    head = ["pair", "GPUs", "ZeRO", "FLOPs", "recomputed", "passes per step", "filled", "hours"]
    rows = [[*head, "of which products", "communication", "GPU-hours", "MFU", "disk"]]
    for name, checkpointing, first in _forecasts():
        if checkpointing:
            use = first.trainings[1].use_zero_stage
            assert use is not None
            joint = _pair(name, first.nodes, checkpointing, use).trainings[1]
            rows.append(
                [
                    name,
                    str(first.gpus),
                    str(use),
                    f"{joint.flops:.2e}",
                    f"{joint.recomputed_flops:.2e}",
                    f"{joint.passes_per_step:.2f}",
                    f"{100 * joint.balance:.0f} %",
                    f"{joint.hours:.2f}",
                    f"{joint.computing_hours:.2f}",
                    f"{joint.communication_hours:.2f}",
                    f"{joint.gpu_hours:.0f}",
                    f"{100 * joint.mfu:.0f} %",
                    f"{joint.disk_bytes / _GB:.0f} GB",
                ]
            )
    return rows


def tables() -> dict[str, list[list[str]]]:
    """Return all tables by name; the first row of each is its head."""
    return {
        "memory": memory_rows(),
        "work": work_rows(),
        "configurations": configuration_rows(),
        "study": [list(STUDY_COLUMNS), *study_rows(_table_1(nodes=1).study)],
        "hours": hours_rows(),
        "power": seeds_rows(),
    }


def cost_rows() -> list[list[str]]:
    """Return what the studies of the paper cost, and what they can detect."""
    head = ["file", "trainings", "evaluations", "GPU-hours", "new after Table 1"]
    rows = [[*head, "smallest difference of the mean, in points"]]
    done: set[str] = set()
    for name in STUDIES:
        config = resolve(packaged("configs") / f"{name}.yaml").config
        found, power = _study(config)
        study, works = found.study, _works(config)
        evaluations = sum(row.steps for row in study.pipeline.stages if row.stage == "eval")
        new = study.gpu_hours
        if done:
            new = sum(arm.added_gpu_hours for arm in study.arms if works[arm.arm] not in done)
        done = done or set(works.values())
        rows.append(
            [
                f"`{name}.yaml`",
                str(study.trainings),
                str(evaluations),
                amount(study.gpu_hours),
                amount(new),
                f"{power[0]}; {power[1]} corrected for {power[2]} comparisons",
            ]
        )
    return rows


def _works(config: Config) -> dict[str, str]:
    """Return what each arm does, by its name: equal work in equal words."""
    found = {}
    for arm in arms_of(config):
        own = config_of(arm, config)
        trained = training_section(arm, own) if arm.objective in TRAINED else arm.objective
        way = (arm.start, arm.samples, arm.objective, arm.steps, own.iterations)
        found[arm.name] = repr((*way, own.curriculum, own.extrapolate, trained))
    return found


def costs() -> dict[str, list[list[str]]]:
    """Return the table of ``reproduce.md`` by its name."""
    return {"cost": cost_rows()}


def _study(config: Config) -> tuple[Forecast, tuple[str, str, int]]:
    """Return a study's forecast, its smallest differences in points, and its comparisons."""
    named = config.models or {"": config.model or ""}
    hub_ids = {name: HUB_IDS[Path(path).name] for name, path in named.items()}
    shapes = {name: shape_of(hub_id)[0] for name, hub_id in hub_ids.items()}
    answers = answers_of(config, WORK)
    power = forecast_power(config, answers)
    assert power is not None
    differences = [f"{100 * one:.1f}" for one in (power.mean.alone, power.mean.corrected)]
    found = forecast_shapes(config, shapes, gpus_of(load_profile("h800"), 1), WORK, answers)
    return found, (differences[0], differences[1], power.comparisons)


def configuration_rows() -> list[list[str]]:
    """Return what `wmss plan` says of the configurations of one run, each with its profile."""
    head = [
        "configuration",
        "GPUs",
        "ZeRO",
        "tokens per pass",
        "peak, GB",
        "largest that fits",
        "passes per step",
    ]
    rows = [[*head, "MFU", "sft, h", "joint-train, h", "GPU-hours in total", "start to end, h"]]
    for name in CONFIGURATIONS:
        config = resolve(packaged("configs") / f"{name}.yaml").config
        assert config.launch.profile is not None
        gpus = gpus_of(load_profile(config.launch.profile))
        found = forecast(config, gpus, WORK, answers_of(config, WORK))
        sft, joint = found.trainings
        (held,) = (row for row in joint.zero if row.zero_stage == joint.zero_stage)
        rows.append(
            [
                f"`{name}`",
                str(found.gpus),
                str(joint.zero_stage),
                f"{joint.micro_batch_tokens:,}",
                f"{held.peak_bytes / _GB:.1f}",
                f"{held.largest_micro_batch_tokens:,}",
                f"{joint.passes_per_step:.2f}",
                f"{100 * joint.mfu:.0f} %",
                amount(sft.hours),
                amount(joint.hours),
                amount(found.study.pipeline.gpu_hours),
                amount(found.study.pipeline.path_hours),
            ]
        )
    return rows


def hours_rows() -> list[list[str]]:
    """Return the study by stage, with jobs of few and of many GPUs."""
    few, many = (_table_1(nodes) for nodes in NODES)
    heads = [f"{what} on {found.gpus}" for found in (few, many) for what in ("GPU-hours", "hours")]
    rows = [["stage", "steps", *heads]]
    both = (few.study.pipeline, many.study.pipeline)
    for lines in zip(*(pipeline.stages for pipeline in both), strict=True):
        hours = [amount(h) for line in lines for h in (line.gpu_hours, line.path_hours)]
        rows.append([lines[0].stage, f"{lines[0].steps:,}", *hours])
    total = [amount(h) for pipeline in both for h in (pipeline.gpu_hours, pipeline.path_hours)]
    return [*rows, ["all", f"{sum(line.steps for line in both[0].stages):,}", *total]]


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
    models = {**MODELS, "Qwen2.5-3B": "Qwen/Qwen2.5-3B"}
    shapes = {name: shape_of(hub_id)[0] for name, hub_id in models.items()}
    gpus = gpus_of(load_profile("h800"), nodes)
    return forecast_shapes(TABLE_1, shapes, gpus, WORK, answers_of(TABLE_1, WORK))
