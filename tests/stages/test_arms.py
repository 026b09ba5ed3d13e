"""The arms of a configuration: the catalogue, one's own, and what cannot be meant."""

from __future__ import annotations

from typing import Any

import pytest

from wmss_cli.core.config import Config
from wmss_cli.core.errors import ConfigError
from wmss_cli.stages.arm_config import config_of
from wmss_cli.stages.arms import arms_of, reference_arm
from wmss_cli.stages.catalogue import CATALOGUE, OBJECTIVES


def only(name: str, arms: Any) -> Any:
    (arm,) = (arm for arm in arms_of(Config(arms=arms)) if arm.name == name)
    return arm


def test_names_of_the_catalogue_are_its_rows() -> None:
    assert arms_of(Config(arms=list(CATALOGUE))) == list(CATALOGUE.values())


def test_every_objective_is_used_by_an_arm() -> None:
    assert {arm.objective for arm in CATALOGUE.values()} == OBJECTIVES.keys()


def test_an_arm_of_ones_own_names_another_and_what_differs() -> None:
    arm = only("lam42", {"wmss": None, "lam42": {"like": "wmss", "joint.mix_lambda": 0.42}})
    assert (arm.start, arm.samples, arm.objective) == ("sft", "active", "mixed")
    assert (arm.like, dict(arm.overrides)) == ("wmss", {"joint.mix_lambda": 0.42})
    assert config_of(arm, Config()).joint.mix_lambda == 0.42


def test_a_section_with_nothing_in_it_changes_nothing() -> None:
    arm = only("a", {"a": {"like": "wmss", "joint": None, "sft": {}}})
    assert dict(arm.overrides) == {}


def test_overrides_may_be_written_as_sections() -> None:
    dotted = {"like": "wmss", "joint.mix_lambda": 0.42, "curriculum.alpha": 1.0}
    nested = {"like": "wmss", "joint": {"mix_lambda": 0.42}, "curriculum": {"alpha": 1.0}}
    assert only("own", {"own": dotted}) == only("own", {"own": nested})


def test_an_arm_inherits_through_several_others() -> None:
    arms = {
        "c": {"like": "b", "joint.mix_lambda": 0.9},
        "b": {"like": "a", "joint.epochs": 2.0},
        "a": {"like": "wmss", "joint.mix_lambda": 0.1},
    }
    assert dict(only("c", arms).overrides) == {"joint.mix_lambda": 0.9, "joint.epochs": 2.0}


def test_a_row_of_the_catalogue_may_be_changed_under_its_name() -> None:
    arm = only("wmss", {"wmss": {"joint.mix_lambda": 0.3}})
    assert arm.objective == "mixed"
    assert dict(arm.overrides) == {"joint.mix_lambda": 0.3}
    assert only("wmss", {"wmss": {"like": "wmss", "joint.mix_lambda": 0.3}}) == arm


def test_an_arm_may_be_made_of_its_parts() -> None:
    arm = only("mine", {"mine": {"start": "sft", "samples": "random", "objective": "mixed"}})
    assert (arm.start, arm.samples, arm.objective, arm.steps) == ("sft", "random", "mixed", "joint")


@pytest.mark.parametrize(
    ("arms", "message"),
    [
        ([], "arms is empty; name at least one"),
        (["wmss", "sft", "wmss"], "wmss is named twice; remove one"),
        (["wms"], r"there is no arm wms; did you mean wmss\?"),
        ({"a": {"like": "wmsss"}}, r"there is no arm wmsss; did you mean wmss\?"),
        ({"a": {"like": "b"}, "b": {"like": "a"}}, "a is like b is like a; that is a circle"),
        ({"a": {"like": "a"}}, "there is no arm a"),
        ({"mine": None}, "there is no arm mine"),
        ({"mine": {"start": "sft"}}, "mine is not in the catalogue.*like: ARM, or samples, obj"),
        ({"a": {"like": "wmss", "start": "softning"}}, r"did you mean softening\?"),
        ({"a": {"like": "wmss", "start": "a"}}, "a: starts from itself"),
        ({"a": {"like": "wmss", "samples": "some"}}, "samples is 'some'; it is one of all"),
        ({"a": {"like": "wmss", "objective": "mix"}}, "objective is 'mix'; it is one of none"),
        ({"a": {"like": "wmss", "steps": "many"}}, "steps is 'many'; it is one of"),
        ({"a": {"like": "wmss", "start": "base"}}, "needs a checkpoint before it"),
        ({"a": {"like": "extrapolated", "start": "base"}}, "needs two checkpoints"),
        ({"a": {"like": "sft", "start": "sft"}}, "steps both do not go with start sft"),
        ({"a": {"like": "wmss", "samples": "-"}}, "exclude each other"),
        ({"a": {"like": "wmss", "steps": "flops"}}, "steps flops is for plain training"),
        ({"a": 7}, "expected 'key: value' lines"),
        ({"a": {"like": ["wmss"]}}, r"a: like is \['wmss'\]; it must name another arm"),
        ({"a": {"lik": "wmss"}}, r"a: there is no lik; did you mean like\?"),
        (
            {"a": {"like": "wmss", "joint.mix_lambda": 0.1, "joint": {"mix_lambda": 0.2}}},
            "a: joint.mix_lambda is given twice; remove one",
        ),
    ],
)
def test_what_cannot_be_meant_is_said_in_a_line(arms: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as failure:
        arms_of(Config.model_construct(arms=arms))
    assert "\n" not in str(failure.value)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"joint.mix_lamda": 0.3}, r"joint.mix_lamda: no such option; did you mean mix_lambda\?"),
        ({"mix_lambda": 0.3}, r"mix_lambda: arms differ in .*; did you mean joint.mix_lambda\?"),
        ({"tokenize.max_seq_len": 9}, "arms differ in iterations and in the options of sft"),
        ({"joint.mix_lambda": 1.3}, "arm a: joint.mix_lambda: .*less than or equal to 1"),
        ({"joint.mix_lambda": 0.0}, "arm a: joint: mix_lambda 0 gives the strong model no"),
        ({"sft.match_flops": "cotrain"}, "sft.match_flops: in an arm, write steps: flops instead"),
        (
            {"sft.objective": "undial"},
            "sft.objective: in an arm, write objective: OBJECTIVE instead",
        ),
        (
            {"joint.weak_logits": "uniform"},
            "joint.weak_logits: in an arm, write objective: OBJECTIVE",
        ),
        (
            {"curriculum": {"alpha": 0.0, "beta": 0.0, "gamma": 0.0}},
            "arm a: curriculum: .*all zero",
        ),
        ({"joint.seed": 3}, "joint.seed: seeds belong to the study; list them in seeds"),
        ({"iterations": 0}, "iterations has to be a whole number of at least 1"),
        ({"iterations": True}, "iterations has to be a whole number of at least 1"),
        ({"joint.epochs": "2"}, r"arm a: joint.epochs: input should be .* \(given: '2'\)"),
    ],
)
def test_overrides_are_checked_as_the_file_is(overrides: dict[str, Any], message: str) -> None:
    arm = only("a", {"a": {"like": "wmss", **overrides}})
    with pytest.raises(ConfigError, match=message):
        config_of(arm, Config())


@pytest.mark.parametrize(
    ("arms", "given", "expected"),
    [
        (["sft", "neftune", "wmss"], None, "sft"),
        (["wmss", "softening", "continued_sft"], None, "continued_sft"),
        (["base", "m1", "wmss"], None, "m1"),
        (["wmss", "jtws"], None, "wmss"),
        (["wmss"], None, None),
        (["sft", "wmss"], "wmss", "wmss"),
    ],
)
def test_differences_are_taken_from_the_arm_that_says_most(
    arms: list[str], given: str | None, expected: str | None
) -> None:
    config = Config(arms=arms, compare_with=given)
    assert reference_arm(config, arms_of(config)) == expected


def test_an_arm_that_is_not_run_is_nothing_to_compare_with() -> None:
    config = Config(arms=["wmss", "m1"], compare_with="sft")
    with pytest.raises(ConfigError, match="compare_with: sft is not run; add it to arms"):
        reference_arm(config, arms_of(config))
    config = Config(arms=["wmss", "m1"], compare_with="wms")
    with pytest.raises(ConfigError, match=r"compare_with: wms is not run; did you mean wmss\?$"):
        reference_arm(config, arms_of(config))
