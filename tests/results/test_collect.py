"""From artifacts on the disk to numbers: of a whole study, and of one that is not finished."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from results.example_study import ARMS, answers, plan, write_evaluation, write_study

from wmss_cli.core.errors import ConfigError
from wmss_cli.results.artifacts import Sources
from wmss_cli.results.collect import collect
from wmss_cli.results.comparison import read_shares
from wmss_cli.results.conclusion import conclusion, missing_line
from wmss_cli.results.crossed import difference
from wmss_cli.results.findings import ArmResult, Findings, Task
from wmss_cli.results.statistics import holm
from wmss_cli.results.study import Study

Written = tuple[Study, dict[str, Path]]


def of(found: Findings, name: str) -> ArmResult:
    return next(arm for arm in found.arms if arm.arm == name)


def scores(paths: list[Path]) -> dict[str, np.ndarray]:
    """Read `[seeds, problems]` of each task, in another way than the report does."""
    shares = [read_shares(path) for path in paths]
    return {task: np.array([list(own[task].values()) for own in shares]) for task in shares[0]}


def test_an_arm_is_the_mean_over_seeds_and_tasks(found: Findings, written: Written) -> None:
    _, paths = written
    own = scores([paths["eval-wmss-s0"], paths["eval-wmss-s1"]])
    arm = of(found, "wmss")
    assert arm.mean is not None
    assert arm.mean.mean == pytest.approx(np.mean([values.mean() for values in own.values()]))
    assert (arm.mean.seeds, arm.mean.covers_seeds) == (2, True)
    assert arm.mean.low < arm.mean.mean < arm.mean.high
    assert arm.tasks["gsm8k"].by_seed == pytest.approx(own["gsm8k"].mean(axis=1))
    assert arm.kinds["code"].mean == pytest.approx(own["humaneval"].mean())


def test_differences_are_paired_and_corrected_for_all_arms(
    found: Findings, written: Written
) -> None:
    _, paths = written
    first = scores([paths["eval-sft-s0"], paths["eval-sft-s1"]])
    names = [arm.arm for arm in found.arms if arm.arm not in ("sft", "base")]
    gaps = {
        name: difference(first, scores([paths[f"eval-{name}-s{seed}"] for seed in (0, 1)]))
        for name in names
    }
    # The base model has no seed: its one row is compared with each.
    gaps["base"] = difference(first, scores([paths["eval-base"]]))
    corrected = dict(zip(gaps, holm([gap.p for gap in gaps.values()]), strict=True))
    for name, expected in gaps.items():
        gap = of(found, name).gap
        assert gap is not None
        assert gap.mean == pytest.approx(expected.mean)
        assert (gap.low, gap.high) == pytest.approx((expected.low, expected.high))
        assert gap.corrected == pytest.approx(corrected[name])
        assert gap.seeds == 2
    assert found.comparisons == len(gaps)
    assert of(found, "sft").gap is None


def test_cost_counts_every_training_on_the_way(found: Findings) -> None:
    first_and_own = of(found, "wmss").cost
    assert first_and_own is not None
    # 30 steps of the first phase and 30 of its own; two processes for 100 and 200 seconds.
    assert (first_and_own.steps, first_and_own.flops) == (60, 3e15)
    assert first_and_own.device_hours == pytest.approx(2 * 300 / 3600)
    assert of(found, "base").cost is None


def test_samples_logits_and_curves_are_those_of_the_arm(found: Findings) -> None:
    arm = of(found, "wmss")
    assert arm.curve is not None
    assert (arm.curve.step[0], arm.curve.step[-1], arm.curve.seeds) == (1, 30, 2)
    assert arm.logit_curve is not None
    assert arm.logit_curve.step == [0, 10, 20, 30]
    assert arm.curriculum is not None
    assert arm.curriculum.alpha == 0.3
    assert sum(one.samples for one in arm.by_difficulty) == 50
    assert [one.name for one in arm.by_change] == ["entropy fell", "entropy rose"]
    assert arm.logits["centred_norm"] == pytest.approx(11.0)
    assert arm.weak_logits["centred_norm"] == pytest.approx(5.0)
    assert of(found, "lam3").mix_lambda == 0.3
    assert found.curation is not None
    assert found.curation.rejected == {"duplicate": 30, "wrong_answer": 20}
    (cloud,) = found.clouds
    assert np.mean(cloud.weight) == pytest.approx(1.0, abs=1e-3)


def test_it_survives_json(found: Findings) -> None:
    assert Findings.model_validate_json(found.model_dump_json()) == found


def test_an_unfinished_study_says_what_is_missing(tmp_path: Path) -> None:
    study, paths = write_study(tmp_path, arms=[ARMS[0], *ARMS[2:4]], seeds=(0, 1))
    shutil.rmtree(paths["eval-ceda-s0"])
    shutil.rmtree(paths["eval-ceda-s1"])
    shutil.rmtree(paths["eval-sft-s1"])
    partial = paths["eval-sft-s1"].with_name("eval-sft-s1.partial")
    partial.mkdir()
    sources = Sources(study, paths, failures={"eval-ceda-s0": "no space left on the device"})
    found = collect(sources, [])
    assert of(found, "ceda").mean is None
    assert of(found, "sft").seeds == [0]
    assert {one.label: one.state for one in found.missing} == {
        "eval-sft-s1": "unfinished",
        "eval-ceda-s0": "failed",
        "eval-ceda-s1": "not begun",
    }
    assert found.missing[0].arms == ["sft"]
    told = " ".join(conclusion(found))
    assert "Not all seeds have been evaluated yet for sft." in told
    assert "No result yet for ceda." in told
    assert "3 of 19 steps have no result (1 failed, 1 unfinished, 1 not begun)" in missing_line(
        found
    )


def test_an_arm_that_cannot_be_compared_yet_is_said_to_be_so(tmp_path: Path) -> None:
    study, paths = write_study(tmp_path, arms=ARMS[1:4], seeds=(0, 1))
    for label in ("eval-sft-s0", "eval-ceda-s1"):
        shutil.rmtree(paths[label])
    found = collect(Sources(study, paths), [])
    assert of(found, "ceda").gap is None
    told = conclusion(found)
    assert told[0].startswith("m1 does not differ from sft by more than noise")
    assert told[1].startswith("Not compared with sft: ceda (no seed in common with it")


def test_a_study_that_has_not_begun_is_a_report_too(tmp_path: Path) -> None:
    study = plan(ARMS[:2], (0,))
    found = collect(Sources(study, {label: tmp_path / label for label in study.labels()}), [])
    assert conclusion(found) == ["No arm has been evaluated yet."]
    assert {one.state for one in found.missing} == {"not begun"}


def test_one_seed_is_said_not_to_cover_seeds(tmp_path: Path) -> None:
    study, paths = write_study(tmp_path, arms=ARMS[2:4], seeds=(0,))
    found = collect(Sources(study, paths), [])
    told = " ".join(conclusion(found))
    assert "No arm differs from sft by more than noise; the smallest difference" in told
    assert "There is one seed" in told
    # M1 is no arm here, so the curve of its training is shown beside those of the arms.
    assert [curve.name for curve in found.first_phases] == ["train-m1-s0"]


def test_other_problems_in_one_task_are_refused(tmp_path: Path) -> None:
    study, paths = write_study(tmp_path, arms=ARMS[2:4], seeds=(0,))
    shutil.rmtree(paths["eval-ceda-s0"])
    rows = answers({"gsm8k": 39, "humaneval": 20}, 0.5, 0, "%d")
    write_evaluation(paths["eval-ceda-s0"], rows)
    with pytest.raises(ConfigError, match="1 problems are not in all evaluations"):
        collect(Sources(study, paths), [Task(name="gsm8k", title="GSM8K")])
