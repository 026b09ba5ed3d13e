"""The hours of a pipeline: shards side by side, the longest path, one step after another."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from wmss_cli.core.config import Config
from wmss_cli.models.published import shape_of
from wmss_cli.preflight.forecast import forecast_shapes
from wmss_cli.preflight.inputs import Answers, Benchmark, Gpus
from wmss_cli.preflight.step_costs import StepPrice
from wmss_cli.preflight.study_costs import StudyForecast
from wmss_cli.preflight.workload import Workload

SHAPE, _ = shape_of("Qwen/Qwen3-4B-Base")
GPUS = Gpus(nodes=1, per_node=8, mem_gb=80, tflops=989, shards_at_once=32)
WORK = Workload(20_000, [4096], 3840.0, 8192, "options")
ANSWERS = Answers((Benchmark("a", 1000, 4096),), 1, 256, 3840)


def study(gpus: Gpus = GPUS, **options: Any) -> StudyForecast:
    config = Config.model_validate(options)
    return forecast_shapes(config, {"": SHAPE}, gpus, WORK, ANSWERS).study


def steps(gpus: Gpus = GPUS, **options: Any) -> dict[str, StepPrice]:
    return {step.label: step for step in study(gpus, **options).work}


def test_every_stage_exists_with_both_entropies() -> None:
    found = {line.stage: line for line in study(arms=["base", "m1", "wmss"]).pipeline.stages}
    assert {stage: line.steps for stage, line in found.items()} == {
        "curate": 1,
        "tokenize": 1,
        "sft": 1,
        "score-entropy": 2,
        "build-curriculum": 1,
        "joint-train": 1,
        "eval": 3,
        "analyze": 4,
    }


def test_the_longest_way_is_the_chain_of_the_method() -> None:
    found = study(arms=["base", "m1", "wmss"])
    hours = {step.label: step.hours for step in found.work}
    chain = ("curate", "tokenize", "m1", "score-m1", "curriculum", "wmss", "eval-wmss")
    assert found.pipeline.path_hours == pytest.approx(sum(hours[label] for label in chain))
    assert found.pipeline.serial_hours == pytest.approx(sum(hours.values()))
    assert found.pipeline.gpu_hours == pytest.approx(found.gpu_hours)
    assert sum(line.gpu_hours for line in found.pipeline.stages) == pytest.approx(found.gpu_hours)


def test_arms_and_seeds_run_beside_each_other() -> None:
    one = study(arms=["wmss"], seeds=[0]).pipeline
    many = study(arms=["wmss", "ceda"], seeds=[0, 1, 2]).pipeline
    assert many.path_hours == pytest.approx(one.path_hours)
    assert many.gpu_hours > 3 * one.gpu_hours


def test_shards_run_beside_each_other_up_to_the_limit_of_an_array() -> None:
    whole = steps()["score-base"]
    assert whole.hours == whole.gpu_hours
    shared = steps(score_entropy={"shards": 16})["score-base"]
    assert shared.hours == pytest.approx(shared.gpu_hours / 16)
    # 16 shards on 6 places are three rounds, on the 8 GPUs of one machine two.
    narrow = replace(GPUS, shards_at_once=6)
    assert steps(narrow, score_entropy={"shards": 16})["score-base"].hours == pytest.approx(
        3 * shared.gpu_hours / 16
    )
    machine = replace(GPUS, shards_at_once=None)
    assert steps(machine, score_entropy={"shards": 16})["score-base"].hours == pytest.approx(
        2 * shared.gpu_hours / 16
    )


def test_curation_is_shared_by_shards_and_workers() -> None:
    one, many = (
        steps(curate={"workers": workers, "shards": shards})["curate"]
        for workers, shards in ((1, 1), (16, 8))
    )
    assert one.hours == pytest.approx(20_000 * 6.5 / 76 / 3600)
    assert one.hours == pytest.approx(16 * 8 * many.hours)
    assert one.gpu_hours == 0
