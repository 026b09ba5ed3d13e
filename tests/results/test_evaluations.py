"""Several evaluations: their names, the training behind them, and curves by epoch."""

from __future__ import annotations

from pathlib import Path

import pytest

from wmss_cli.core.artifact import Job, open_draft
from wmss_cli.results.evaluations import by_epoch, differences, last_epochs, open_evaluations


def write(out: Path, stage: str, config: dict[str, float], inputs: dict[str, str]) -> Path:
    """Write the smallest artifact of a stage."""
    with open_draft(Job(stage, config, config, inputs, str(out))) as draft:
        (draft.folder / "model").mkdir()
        (draft.folder / "model" / "config.json").write_text("{}")
        draft.commit({})
    return out


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    """The evaluation of a model that was trained for two epochs."""
    training = write(tmp_path / "joint", "joint_train", {"epochs": 2.0}, {})
    return write(tmp_path / "eval", "eval", {"seed": 0}, {"model": str(training / "model")})


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """An evaluation of nobody knows what."""
    return write(tmp_path / "other", "eval", {"seed": 1}, {})


def test_a_name_without_an_epoch_is_the_end_of_the_training(trained: Path, other: Path) -> None:
    found = open_evaluations([f"wmss={trained}", f"wmss@1={other}", f"sft={other}"])
    assert [(one.arm, one.epoch) for one in found] == [("wmss", 2.0), ("wmss", 1.0), ("sft", None)]
    curves = by_epoch(found)
    assert {
        arm: [(at, one.name) for at, one in epochs.items()] for arm, epochs in curves.items()
    } == {"wmss": [(1.0, "wmss@1"), (2.0, "wmss")]}
    assert [one.name for one in last_epochs(found)] == ["wmss", "sft"]


def test_one_epoch_alone_is_no_curve(other: Path) -> None:
    found = open_evaluations([f"wmss@1={other}", f"sft={other}"])
    assert by_epoch(found) == {}
    assert last_epochs(found) == found


def test_the_training_is_among_the_options(trained: Path, other: Path) -> None:
    found = open_evaluations([f"wmss={trained}", f"other={other}"])
    assert differences({one.name: one.options() for one in found}) == {
        "eval.seed": {"wmss": "0", "other": "1"},
        "training": {"wmss": "joint_train", "other": "-"},
        "train.epochs": {"wmss": "2.0", "other": "-"},
    }


def test_answers_that_were_graded_anew_are_of_the_same_training(
    trained: Path, tmp_path: Path
) -> None:
    once = write(tmp_path / "once", "grade", {"workers": 2}, {"answers": str(trained)})
    twice = write(tmp_path / "twice", "grade", {"workers": 4}, {"answers": str(once)})
    before, after = open_evaluations([str(trained), str(twice)])
    assert after.epoch == before.epoch == 2.0
    assert after.options() == before.options()
