"""The price of a study: every step once, arms alone and added, the smallest difference."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from commands import right_records, write_records
from tiny import make_tiny_model

from wmss_cli.core.config import Config
from wmss_cli.core.errors import ConfigError
from wmss_cli.core.selection import Selection
from wmss_cli.models.shape import ModelShape, train_flops
from wmss_cli.preflight.costs import Passes, training
from wmss_cli.preflight.forecast import Forecast, forecast, forecast_shapes
from wmss_cli.preflight.inputs import (
    Answers,
    Benchmark,
    Gpus,
    answers_of,
)
from wmss_cli.preflight.step_costs import StepPrice
from wmss_cli.preflight.study_costs import ArmPrice, StudyForecast
from wmss_cli.preflight.workload import Workload
from wmss_cli.results.power import detectable_difference
from wmss_cli.stages.catalogue import CATALOGUE
from wmss_cli.stages.pipeline import plan_pipeline

SHAPE = ModelShape(
    layers=2,
    hidden_size=8,
    intermediate_size=16,
    heads=2,
    kv_heads=1,
    head_dim=4,
    vocab_size=32,
    tied=True,
)
GPUS = Gpus(nodes=1, per_node=4, mem_gb=24, tflops=100)
WORK = Workload(640, [30], 20.0, 64, "options")
ANSWERS = Answers((Benchmark("a", 100, 4096), Benchmark("b", 50, 15)), 1, 10, 20)
STEP = WORK.samples // 32
"""Steps of one epoch."""


def of(answers: Answers = ANSWERS, work: Workload = WORK, **options: Any) -> Forecast:
    return forecast_shapes(Config.model_validate(options), {"": SHAPE}, GPUS, work, answers)


def study(**options: Any) -> StudyForecast:
    return of(**options).study


def steps(**options: Any) -> dict[str, StepPrice]:
    return {step.label: step for step in study(**options).work}


def arms(**options: Any) -> dict[str, ArmPrice]:
    return {arm.arm: arm for arm in study(**options).arms}


# What a step costs.


def test_a_training_costs_what_its_shape_needs() -> None:
    found = steps(arms=["wmss", "wmss_frozen", "softening", "ceda", "undial_kd"])
    once = {
        None: 640 * train_flops(SHAPE, None, "frozen", [30], 20),
        "cotrain": 640 * train_flops(SHAPE, SHAPE, "cotrain", [30], 20),
        "frozen": 640 * train_flops(SHAPE, SHAPE, "frozen", [30], 20),
    }
    assert found["m1"].flops == once[None]
    assert found["wmss"].flops == once["cotrain"]
    assert found["wmss_frozen"].flops == once["frozen"]
    # Equal weak logits need no weak model; a reference is one more forward pass.
    assert found["softening"].flops == found["ceda"].flops == once[None]
    assert found["undial_kd"].flops == once["frozen"]
    assert (found["wmss"].steps, found["wmss"].tokens) == (STEP, 640 * 30)


def test_lengths_are_averaged_exactly() -> None:
    lengths = [3, 50, 17]
    passes = Passes.of(SHAPE, Workload(3, lengths, 2.0, 50, "a table"))
    found = training(Config().joint, passes, 3)
    assert found.flops == train_flops(SHAPE, SHAPE, "cotrain", lengths, 6)


def test_entropies_are_one_pass_over_all_samples() -> None:
    found = steps(arms=["wmss"])
    assert found["score-base"].flops == 640 * SHAPE.forward_flops([30], 20)
    assert found["score-base"].flops == found["score-m1"].flops
    assert found["logits-wmss"].flops == 200 * SHAPE.forward_flops([30], 20)


def test_an_answer_costs_a_pass_over_prompt_and_answer() -> None:
    found = steps(arms=["base"])["eval-base"]
    # Task b stops an answer at 15 tokens.
    long, short = SHAPE.forward_flops([30], 20), SHAPE.forward_flops([25], 15)
    assert found.flops == 100 * long + 50 * short
    assert (found.samples, found.tokens) == (150, 100 * 30 + 50 * 25)
    # Four GPUs of 100 TFLOP/s, of which writing answers reaches a twentieth.
    assert found.gpu_hours == pytest.approx(found.flops / (0.05 * 100e12) / 3600)


def test_without_tasks_no_evaluation_is_priced() -> None:
    found = of(Answers((), 1, 10, 20))
    assert {step.kind for step in found.study.work} == {"cpu", "training", "scoring", "logits"}
    assert found.power is None


# What arms cost.


def test_the_catalogue_is_priced_as_it_is_planned(tmp_path: Path) -> None:
    data = write_records(tmp_path / "data.jsonl", right_records(4))
    models = {name: str(make_tiny_model(tmp_path / name, seed=i)) for i, name in enumerate("ab")}
    config = Config(
        run_dir=str(tmp_path / "runs"),
        models=models,
        data=[str(data)],
        eval_files={"test": str(data)},
        arms=list(CATALOGUE),
        seeds=[0, 1],
    )
    planned = {step.label: step for step in plan_pipeline(config).steps}
    found = {step.label: step for step in forecast(config, GPUS, WORK, ANSWERS).study.work}
    assert found.keys() == planned.keys() - {"report"}
    # Curation is of all base models.
    for label, step in found.items():
        assert tuple(step.arms) == planned[label].arms
        assert tuple(step.seeds) == planned[label].seeds
        assert step.model == planned[label].models[0]
    trainings = [step for step in found.values() if step.kind == "training"]
    # m1, and 16 arms that train beyond it.
    assert len(trainings) == 17 * 2 * 2


def test_data_and_weights_need_not_be_there(tmp_path: Path) -> None:
    whole = make_tiny_model(tmp_path / "whole")
    (tmp_path / "config.json").write_text((whole / "config.json").read_text())
    config = Config(model=str(tmp_path), data=["nowhere.jsonl"], tasks=["gsm8k"], task_data="no")
    answers = answers_of(config, WORK)
    assert forecast(config, GPUS, WORK, answers).study.problems == {"gsm8k": 1319}


def test_what_arms_share_is_counted_once() -> None:
    found = study(arms=["wmss", "ceda", "continued_sft"], seeds=[0, 1])
    of_arm = {arm.arm: arm for arm in found.arms}
    label = {step.label: step for step in found.work}
    assert label["m1/s0"].arms == ["wmss", "ceda", "continued_sft"]
    assert label["score-base"].arms == ["wmss", "ceda"]
    assert label["score-base"].seeds == [0, 1]
    added = sum(arm.added_gpu_hours for arm in found.arms)
    assert added + found.shared_gpu_hours == pytest.approx(found.gpu_hours)
    assert sum(found.kinds.values()) == pytest.approx(found.gpu_hours)
    own = ("wmss", "eval-wmss", "logits-wmss", "logits-wmss-weak")
    assert of_arm["wmss"].added_flops == sum(
        label[f"{step}/s{seed}"].flops for step in own for seed in (0, 1)
    )
    assert (of_arm["wmss"].trainings, of_arm["wmss"].steps) == (4, 4 * STEP)
    assert found.trainings == 8


def test_an_arm_costs_the_same_alone_as_in_a_study() -> None:
    together = arms(arms=list(CATALOGUE), seeds=[0, 1])
    for name in CATALOGUE:
        (alone,) = study(arms=[name], seeds=[0, 1]).arms
        assert alone.gpu_hours == pytest.approx(together[name].gpu_hours)
        assert alone.added_gpu_hours == pytest.approx(alone.gpu_hours)


@pytest.mark.parametrize("mode", ["cotrain", "frozen"])
@pytest.mark.parametrize("multiplier", [0.3, 1.0, 2.0])
def test_equal_cost_is_equal_to_a_step(mode: str, multiplier: float) -> None:
    names = ["wmss", "continued_sft_flops", "continued_sft"]
    options = {"joint": {"weak_mode": mode}, "curriculum": {"multiplier": multiplier}}
    found = steps(arms=names, **options)
    step = found["continued_sft"].flops / found["continued_sft"].steps
    assert abs(found["continued_sft_flops"].flops - found["wmss"].flops) <= step
    assert found["continued_sft"].steps == found["wmss"].steps


def test_an_extrapolated_model_costs_its_evaluation_alone() -> None:
    found = study(arms=["m1", "extrapolated"])
    own = [step for step in found.work if step.arms == ["extrapolated"] and step.gpu_hours]
    assert [step.label for step in own] == ["eval-extrapolated", "logits-extrapolated"]


def test_sft_of_both_phases_takes_the_steps_of_both() -> None:
    options = {"sft": {"epochs": 2}, "joint": {"epochs": 3}, "curriculum": {"multiplier": 0.5}}
    found = arms(arms=["sft", "wmss"], **options)
    assert found["sft"].steps == found["wmss"].steps == round(3.5 * STEP)
    assert found["sft"].trainings == 1


def test_every_iteration_is_priced() -> None:
    found = arms(arms=["wmss", "continued_sft"], iterations=3)
    assert (found["wmss"].trainings, found["wmss"].steps) == (4, 4 * STEP)
    assert found["continued_sft"].steps == found["wmss"].steps


def test_a_seed_more_costs_more_but_less_than_a_study_more() -> None:
    costs = [study(seeds=list(range(count))).gpu_hours for count in (1, 2, 3)]
    assert costs[1] - costs[0] == pytest.approx(costs[2] - costs[1])
    # The base model is scored and evaluated once.
    assert costs[0] > costs[1] - costs[0] > 0


def test_each_base_model_has_its_own_price() -> None:
    large = ModelShape(**{**vars(SHAPE), "layers": 4})
    config = Config(seeds=[0])
    both = forecast_shapes(config, {"small": SHAPE, "large": large}, GPUS, WORK, ANSWERS)
    alone = {
        shape: forecast_shapes(config, {"": shape}, GPUS, WORK, ANSWERS).study.gpu_hours
        for shape in (SHAPE, large)
    }
    assert both.study.gpu_hours == pytest.approx(sum(alone.values()))
    assert [(one.model, one.stage) for one in both.trainings] == [
        *(("small", "sft"), ("small", "joint-train")),
        *(("large", "sft"), ("large", "joint-train")),
    ]


def test_memory_is_shown_for_what_is_trained() -> None:
    assert [one.stage for one in of(arms=["base"]).trainings] == []
    assert [one.stage for one in of(arms=["sft", "neftune"]).trainings] == ["sft"]


def test_an_arm_that_holds_more_than_its_stage_and_does_not_fit_is_named() -> None:
    large = ModelShape(36, 2560, 9728, 32, 8, 128, 151936, tied=True, qk_norm=True)
    options = {"zero_stage": 2, "gradient_checkpointing": True}
    config = Config.model_validate({"arms": ["m1", "undial_kd"], "sft": options, "joint": options})

    def warnings(mem_gb: float) -> list[str]:
        gpus = Gpus(1, 8, mem_gb, 989)
        found = forecast_shapes(config, {"": large}, gpus, WORK, ANSWERS)
        (sft,) = found.trainings
        assert sft.warnings == []
        return found.warnings

    assert warnings(80) == []
    # The reference is 8 GB of weights more.
    assert warnings(32) == ["undial_kd: zero_stage 2 does not fit; set zero_stage 3"]


def test_a_large_study_is_priced_in_seconds() -> None:
    large = ModelShape(36, 2560, 9728, 32, 8, 128, 151936, tied=True, qk_norm=True)
    work = Workload(200_000, [4096] * 200_000, 3840.0, 8192, "a table")
    problems = (30, 40, 164, 238, 254, 500, 500, 1000, 1319)
    answers = Answers(
        tuple(Benchmark(f"task{i}", count, 4096) for i, count in enumerate(problems)), 1, 256, 3840
    )
    config = Config(arms=list(CATALOGUE)[:17], seeds=[0, 1, 2])
    # Not the wall clock: other processes may share the machine.
    begin = time.process_time()
    found = forecast_shapes(config, dict.fromkeys("abc", large), GPUS, work, answers)
    assert time.process_time() - begin < 5.0
    assert len(found.study.arms) == 17


# Parts of a study.


@pytest.fixture
def two(tmp_path: Path) -> Config:
    """Two models, of which only config.json exists."""
    models = {}
    for name, layers in (("a", 1), ("b", 2)):
        folder = tmp_path / name
        folder.mkdir()
        sizes = {"hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": layers}
        heads = {"num_attention_heads": 2, "num_key_value_heads": 1, "vocab_size": 32}
        content = {"model_type": "llama", **sizes, **heads}
        (folder / "config.json").write_text(json.dumps(content))
        models[name] = str(folder)
    return Config(models=models, arms=["base", "sft", "wmss"], seeds=[0, 1])


def test_a_selection_contains_what_it_needs(two: Config) -> None:
    def part(**chosen: Any) -> Forecast:
        return forecast(two, GPUS, WORK, ANSWERS, selection=Selection(**chosen))

    whole = {step.label: step.gpu_hours for step in part().study.work}
    one = part(arm="wmss", seed=1, model="b").study
    assert [step.label for step in one.work] == [
        *("curate", "b/tokenize", "b/m1/s1", "b/score-base", "b/score-m1/s1"),
        *("b/curriculum/s1", "b/wmss/s1"),
        *("b/eval-wmss/s1", "b/logits-wmss/s1", "b/logits-wmss-weak/s1"),
    ]
    for step in one.work:
        assert step.gpu_hours == whole[step.label]
    assert (one.models, one.seeds, [arm.arm for arm in one.arms]) == (["b"], [1], ["wmss"])
    # What the study finds does not depend on what of it is priced.
    assert part(arm="wmss", seed=1, model="b").power == part().power


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"arm": "wms"}, "--arm wms: the study has base, sft, wmss"),
        ({"seed": 3}, "--seed 3: the study has 0, 2, 10"),
        ({"model": "c"}, "--model c: the study has a, b"),
    ],
)
def test_a_part_that_does_not_exist_is_one_line(
    two: Config, chosen: dict[str, Any], message: str
) -> None:
    three = two.model_copy(update={"seeds": [0, 10, 2]})
    with pytest.raises(ConfigError) as caught:
        forecast(three, GPUS, WORK, ANSWERS, selection=Selection(**chosen))
    assert str(caught.value) == message


def test_an_arm_that_run_would_refuse_is_not_priced(two: Config) -> None:
    arms = {"sft": None, "own": {"like": "sft", "curriculum.alpha": 0.5}}
    with pytest.raises(ConfigError, match=r"arm own: curriculum\.alpha changes nothing"):
        forecast(two.model_copy(update={"arms": arms}), GPUS, WORK, ANSWERS)


def test_model_and_models_exclude_each_other(two: Config) -> None:
    both = two.model_copy(update={"model": two.models["a"]})
    with pytest.raises(ConfigError, match="model and models are both set; keep one of them"):
        forecast(both, GPUS, WORK, ANSWERS)


# Benchmarks.


def test_the_problems_are_those_of_the_tasks_and_files(tmp_path: Path) -> None:
    rows = [{"id": str(i), "question": "1 + 1?", "answer": "2"} for i in range(3)]
    file = tmp_path / "own.jsonl"
    file.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    config = Config(tasks=["aime2025", "gsm8k"], eval_files={"own": str(file), "later": "no.jsonl"})
    assert answers_of(config, WORK, rows=70).benchmarks == (
        Benchmark("aime2025", 30, 8192),
        Benchmark("gsm8k", 1319, 4096),
        Benchmark("own", 3, 4096),
        Benchmark("later", 70, 4096),
    )
    assumed = answers_of(config, WORK)
    assert assumed.benchmarks[3] == Benchmark("later", 500, 4096)
    assert (
        assumed.assumed[0]
        == "500 problems of later, which do not exist yet; --problems replaces it"
    )


def test_limits_of_the_configuration_count() -> None:
    config = Config.model_validate(
        {"tasks": ["aime2025", "gsm8k"], "eval": {"limit": 40, "max_new_tokens": 64}}
    )
    assert answers_of(config, WORK).benchmarks == (
        Benchmark("aime2025", 30, 64),
        Benchmark("gsm8k", 40, 64),
    )


def test_answers_are_as_long_as_completions_unless_it_is_said() -> None:
    found = answers_of(Config(), WORK)
    assert (found.prompt_tokens, found.answer_tokens) == (10, 20)
    assert answers_of(Config(), WORK, mean_answer_tokens=7).answer_tokens == 7


# Power.


def test_the_smallest_difference_is_that_of_the_statistics() -> None:
    found = of(arms=["sft", "wmss", "ceda"], seeds=[0, 1, 2]).power
    assert found is not None
    assert (found.reference, found.comparisons, found.seeds) == ("sft", 2, 3)
    assert found.corrected_level == 0.025
    both = {"a": 100, "b": 50}
    assert found.mean.problems == 150
    assert found.mean.alone == detectable_difference(both, 3, level=0.05)
    assert found.mean.corrected == detectable_difference(both, 3, level=0.025)
    assert found.tasks["b"].corrected == detectable_difference({"b": 50}, 3, level=0.025)


def test_where_nothing_is_compared_there_is_no_power() -> None:
    assert of(arms=["wmss"]).power is None


def test_what_no_difference_could_show_is_null() -> None:
    few = Answers((Benchmark("few", 3, 10),), 1, 10, 10)
    found = of(few, arms=["sft", "wmss"]).power
    assert found is not None
    assert found.tasks["few"].alone is None
