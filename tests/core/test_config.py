"""The sections: strict, frozen, with the paper's defaults, and what makes a fingerprint."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from wmss_cli.core import config as c
from wmss_cli.core.config import Config, CurriculumConfig, JointConfig, Section, SftConfig
from wmss_cli.core.recomputation import MOST, every, mode_of

SECTIONS: list[type[Section]] = [
    field.annotation
    for field in Config.model_fields.values()
    if isinstance(field.annotation, type) and issubclass(field.annotation, Section)
]


def test_the_defaults_are_the_papers() -> None:
    config = Config()
    assert (config.curriculum.alpha, config.curriculum.beta, config.curriculum.gamma) == (
        0.1,
        0.8,
        0.1,
    )
    assert config.joint.mix_lambda == 0.5
    assert config.sft.learning_rate == config.joint.learning_rate == 1e-5
    assert config.tokenize.max_seq_len == 8192
    assert config.eval.max_new_tokens is None
    assert config.iterations == 1
    assert config.sft.epochs == config.joint.epochs == 1


def test_the_system_prompt_is_the_papers_to_the_letter() -> None:
    start, _, rest = c.SYSTEM_PROMPT.partition("<think> and <answer> tags")
    assert start == (
        "You are a helpful assistant. To answer the user's question, you first think about the "
        "reasoning process and then provide the user with the answer. The reasoning process and "
        "answer are enclosed within "
    )
    assert rest == (
        ", respectively, i.e., <think> reasoning process here </think> "
        "<answer> answer here </answer>."
    )
    assert Config().tokenize.system_prompt == Config().eval.system_prompt == c.SYSTEM_PROMPT


@pytest.mark.parametrize("section", [Config, *SECTIONS])
def test_a_section_cannot_be_changed(section: type[Section]) -> None:
    made = section()
    name = next(iter(section.model_fields))
    with pytest.raises(ValidationError, match="frozen"):
        setattr(made, name, getattr(made, name))


@pytest.mark.parametrize("section", [Config, *SECTIONS])
def test_every_field_is_documented(section: type[BaseModel]) -> None:
    for name, field in section.model_fields.items():
        is_section = isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
        assert is_section or field.description, f"{section.__name__}.{name} has no text"


@pytest.mark.parametrize(
    ("section", "values"),
    [
        (SftConfig, {"epohcs": 1}),
        (SftConfig, {"epochs": "1"}),
        (SftConfig, {"global_batch_size": 32.0}),
        (SftConfig, {"gradient_checkpointing": "false"}),
        (SftConfig, {"gradient_checkpointing": 0}),
        (SftConfig, {"learning_rate": 0}),
        (SftConfig, {"learning_rate": float("nan")}),
        (SftConfig, {"learning_rate": float("inf")}),
        (SftConfig, {"zero_stage": 4}),
        (SftConfig, {"global_batch_size": 0}),
        (SftConfig, {"gradient_checkpointing": "every-1st"}),
        (SftConfig, {"gradient_checkpointing": "every-2th"}),
        (SftConfig, {"micro_batch_tokens": 0}),
        (SftConfig, {"micro_batch_tokens": "all"}),
        (SftConfig, {"precision": "bf16", "zero_stage": 0}),
        (SftConfig, {"objective": "label_smoothing", "loss_backend": "torch"}),
        (JointConfig, {"weak_logits": "noise", "weak_mode": "frozen", "loss_backend": "liger"}),
        (JointConfig, {"mix_lambda": 0.0}),
        (JointConfig, {"mix_lambda": 1.1}),
        (JointConfig, {"weak_mode": "thawed"}),
        (CurriculumConfig, {"alpha": -0.1}),
        (CurriculumConfig, {"alpha": 0.0, "beta": 0.0, "gamma": 0.0}),
        (CurriculumConfig, {"sampling": "without_replacement", "multiplier": 1.5}),
        (Config, {"controls": ["softening"]}),
        (Config, {"seeds": [1, 2, 1]}),
        (Config, {"models": {"a b": "x"}}),
        (Config, {"tables": ["all"]}),
        (Config, {"iterations": 0}),
    ],
)
def test_what_cannot_work_is_refused(section: type[Section], values: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        section(**values)


def test_a_mode_of_recomputation_was_once_true_or_false() -> None:
    assert SftConfig(gradient_checkpointing=True).gradient_checkpointing == "full"
    assert SftConfig(gradient_checkpointing=False).gradient_checkpointing == "none"
    for n in range(MOST + 1):
        mode = mode_of(n)
        assert SftConfig(gradient_checkpointing=mode).gradient_checkpointing == mode
        assert every(mode) == n


@pytest.mark.parametrize("section", SECTIONS)
def test_execution_fields_exist_and_do_not_change_the_identity(section: type[Section]) -> None:
    assert set(section.model_fields) >= section.EXECUTION
    left_out = section.EXECUTION | section.NEUTRAL.keys() | section().unused()
    rules = set() if section.RULES is None else {"rules"}
    assert section().identity().keys() == (section.model_fields.keys() - left_out) | rules


@pytest.mark.parametrize("section", SECTIONS)
def test_at_its_neutral_value_an_option_is_its_own_default(section: type[Section]) -> None:
    assert {name: getattr(section(), name) for name in section.NEUTRAL} == dict(section.NEUTRAL)


@pytest.mark.parametrize(
    ("section", "how_it_runs"),
    [
        (c.CurateConfig, {"workers": 7}),
        (c.SftConfig, {"save_every_steps": 7}),
        (c.JointConfig, {"keep_checkpoints": 7, "next_weak": "cotrained"}),
        (c.ScoreConfig, {"shards": 7, "max_batch_tokens": 7}),
        (c.EvalConfig, {"workers": 7, "engine": "plain", "batch_size": 7}),
    ],
)
def test_how_a_stage_runs_does_not_change_its_identity(
    section: type[Section], how_it_runs: dict[str, Any]
) -> None:
    assert section(**how_it_runs).identity() == section().identity()


@pytest.mark.parametrize(
    ("section", "what_it_makes"),
    [
        (c.CurateConfig, {"deduplicate": "none"}),
        (c.TokenizeConfig, {"system_prompt": ""}),
        (c.SftConfig, {"seed": 1}),
        (c.JointConfig, {"mix_lambda": 0.42}),
        (c.ScoreConfig, {"precision": "fp32"}),
        (c.CurriculumConfig, {"normalization": "per_term"}),
        (c.EvalConfig, {"max_new_tokens": 7}),
    ],
)
def test_what_a_stage_makes_does(section: type[Section], what_it_makes: dict[str, Any]) -> None:
    assert section(**what_it_makes).identity() != section().identity()


def test_engines_make_the_same_greedy_answers_and_draw_others() -> None:
    greedy = [c.EvalConfig(engine=engine).identity() for engine in ("static", "plain")]
    drawn = [c.EvalConfig(engine=e, temperature=0.7).identity() for e in ("static", "plain")]
    assert greedy[0] == greedy[1]
    assert drawn[0] != drawn[1]


def test_one_and_one_point_zero_are_the_same_work() -> None:
    assert SftConfig(epochs=1).identity() == SftConfig(epochs=1.0).identity()
