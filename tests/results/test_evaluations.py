"""Evaluations as a study: names, seeds, epochs, and the trainings behind them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from wmss_cli.core.artifact import Job, open_draft
from wmss_cli.core.errors import ConfigError
from wmss_cli.results.evaluations import gather, open_evaluation, paired_by_seed
from wmss_cli.results.study import Study, write_study


def write(out: Path, stage: str, config: dict[str, Any], inputs: dict[str, str]) -> Path:
    """Write the smallest artifact of a stage."""
    with open_draft(Job(stage, config, config, inputs, str(out))) as draft:
        (draft.folder / "model").mkdir()
        (draft.folder / "model" / "config.json").write_text("{}")
        draft.commit({})
    return out


def trained(folder: Path, name: str, seed: int) -> Path:
    """Write an evaluation of a model that was trained in two phases."""
    first = write(folder / f"{name}-sft", "sft", {"seed": seed}, {})
    active = write(folder / f"{name}-active", "build_curriculum", {"alpha": seed}, {})
    inputs = {"strong": str(first / "model"), "active": str(active)}
    second = write(folder / f"{name}-joint", "joint_train", {"seed": seed}, inputs)
    return write(folder / name, "eval", {"seed": 0}, {"model": str(second / "model")})


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """An evaluation of an unknown model."""
    return write(tmp_path / "other", "eval", {"seed": 1}, {})


def test_the_way_to_a_model_is_found_in_manifests(tmp_path: Path, other: Path) -> None:
    study, artifacts = gather([f"base={other}", f"wmss={trained(tmp_path, 'a', 3)}"])
    base, run = study.runs
    assert (base.arm, base.seed, base.trainings) == ("base", None, [])
    assert run.trainings == [str(tmp_path / "a-sft"), str(tmp_path / "a-joint")]
    assert run.curriculum == str(tmp_path / "a-active")
    assert artifacts.keys() == set(study.labels())
    assert (study.compare_with, study.seeds) == ("base", [])


def test_seeds_are_those_of_the_trainings(tmp_path: Path, other: Path) -> None:
    folders = [trained(tmp_path, f"a{seed}", seed) for seed in (5, 3)]
    study, _ = gather([f"wmss={folders[0]},{folders[1]}", f"base={other}"])
    assert [(run.arm, run.seed) for run in study.runs] == [
        ("wmss", 5),
        ("wmss", 3),
        ("base", None),
    ]
    assert study.seeds == [3, 5]


def test_seeds_that_nobody_recorded_are_paired_in_order(tmp_path: Path) -> None:
    folders = [write(tmp_path / f"e{i}", "eval", {"seed": i}, {}) for i in range(4)]
    study, _ = gather([f"a={folders[0]}", f"a={folders[1]}", f"b={folders[2]},{folders[3]}"])
    assert [(run.arm, run.seed) for run in study.runs] == [("a", 0), ("a", 1), ("b", 0), ("b", 1)]


def test_a_name_with_an_epoch_is_an_earlier_evaluation(tmp_path: Path, other: Path) -> None:
    end = trained(tmp_path, "a", 0)
    study, _ = gather([f"wmss@1={other}", f"wmss={end}"])
    (run,) = study.runs
    assert run.earlier == {"1": str(other)}
    # An epoch of what is not named is an arm of its own.
    study, _ = gather([f"wmss@1={other}"])
    assert [arm.name for arm in study.arms] == ["wmss@1"]


def test_answers_that_were_graded_again_are_of_the_same_training(tmp_path: Path) -> None:
    once = write(tmp_path / "once", "grade", {"w": 2}, {"answers": str(trained(tmp_path, "a", 7))})
    twice = open_evaluation(write(tmp_path / "twice", "grade", {"w": 4}, {"answers": str(once)}))
    assert (twice.seed, twice.training) == (7, tmp_path / "a-joint")


def test_what_has_no_seed_has_that_of_the_training_before_it(tmp_path: Path) -> None:
    def extrapolated(seed: int) -> Path:
        trained(tmp_path, f"t{seed}", seed)
        inputs = {"strong": str(tmp_path / f"t{seed}-joint" / "model")}
        made = write(tmp_path / f"x{seed}-made", "extrapolate", {"factor": seed / 9}, inputs)
        return write(tmp_path / f"x{seed}", "eval", {"seed": 0}, {"model": str(made / "model")})

    own = [trained(tmp_path, f"a{seed}", seed) for seed in (0, 1, 2)]
    beyond = [extrapolated(seed) for seed in (2, 1, 0)]
    sides = ([open_evaluation(folder) for folder in side] for side in (own, beyond))
    left, right = paired_by_seed(*sides)
    assert [one.seed for one in left] == [one.seed for one in right] == [0, 1, 2]
    # Two seeds of another arm are paired by number, whatever stands beside them.
    named = [f"a={','.join(map(str, own))}", f"x={','.join(map(str, beyond))}"]
    study, _ = gather([*named, f"c={trained(tmp_path, 'c2', 2)},{trained(tmp_path, 'c0', 0)}"])
    assert [run.seed for run in study.runs if run.arm == "c"] == [2, 0]


def test_one_folder_is_one_evaluation(other: Path) -> None:
    with pytest.raises(ConfigError, match="named twice"):
        gather([f"a={other}", f"b={other}"])
    with pytest.raises(ConfigError, match="named twice"):
        paired_by_seed([open_evaluation(other)] * 2, [open_evaluation(other)])


def test_a_run_in_which_nothing_is_evaluated_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    study = Study(models={"": ""}, arms=[], seeds=[], compare_with=None, tables=[], runs=[])
    write_study(tmp_path / "run", study, {}, [])
    with pytest.raises(ConfigError, match="nothing has been evaluated yet; 'wmss report RUN_DIR'"):
        gather([f"a={tmp_path / 'run'}"])


def test_arms_are_paired_by_the_seeds_of_their_trainings(tmp_path: Path, other: Path) -> None:
    first = [open_evaluation(trained(tmp_path, f"a{seed}", seed)) for seed in (0, 1)]
    second = [open_evaluation(trained(tmp_path, f"b{seed}", seed)) for seed in (1, 0)]
    left, right = paired_by_seed(first, second)
    assert [one.seed for one in left] == [one.seed for one in right] == [0, 1]
    base = [open_evaluation(other)]
    assert paired_by_seed(base, second) == (base, second)
    with pytest.raises(ConfigError, match="one training, with seed 0, against 2"):
        paired_by_seed(first[:1], second)
