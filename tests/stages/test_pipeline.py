"""The plan: every fingerprint before anything runs, equal work once, what needs what."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import right_records, write_records

from wmss_cli.core import artifact
from wmss_cli.core.artifact import Job
from wmss_cli.core.config import Config, CurriculumConfig, JointConfig, SftConfig
from wmss_cli.core.errors import ConfigError
from wmss_cli.data.batches import BatchPlan
from wmss_cli.stages import shards, tokenize
from wmss_cli.stages.pipeline import Plan, external, plan_pipeline, token_table
from wmss_cli.stages.shards import shard_job, shard_jobs

WATCHED = (
    *("analyze-before-weak", "analyze-before-strong"),
    *("analyze-after-strong", "analyze-after-weak"),
)
"""The steps that look at a model's logits, before and after the joint training."""


@pytest.fixture
def base(tiny_model: Path, tmp_path: Path) -> dict[str, Any]:
    """The least that a pipeline needs."""
    data = write_records(tmp_path / "data.jsonl", right_records(4))
    return {
        "run_dir": str(tmp_path / "runs"),
        "model": str(tiny_model),
        "data": [str(data)],
        "eval_files": {"test": str(data)},
    }


def plan(base: dict[str, Any], **options: Any) -> Plan:
    return plan_pipeline(Config(**(base | options)))


def needs(made: Plan) -> dict[str, set[str]]:
    return {step.label: set(step.needs) for step in made.steps}


def jobs(made: Plan) -> dict[str, Job]:
    return {step.label: step.job for step in made.steps}


def inputs(made: Plan, label: str) -> dict[str, str]:
    """Return where each input of a step comes from: a label and a folder in it, or a path."""
    origin = {step.job.out: step.label for step in made.steps}
    found = {}
    for role, path in jobs(made)[label].inputs.items():
        folder, _, part = path.rpartition("/")
        label_of_part = f"{origin[folder]}/{part}" if folder in origin else path
        found[role] = origin.get(path, label_of_part)
    return found


def test_the_token_table_is_known_without_evaluation_files(base: dict[str, Any]) -> None:
    expected = jobs(plan(base))["tokenize"].out
    del base["eval_files"]
    assert str(token_table(Config(**base))) == expected


def test_one_iteration(base: dict[str, Any]) -> None:
    made = plan(base)
    assert list(needs(made)) == [
        *("curate", "tokenize", "sft", "score-weak", "score-strong", "curriculum", "joint"),
        *("eval-base", "eval-sft", "eval-wmss", *WATCHED, "report"),
    ]
    model = base["model"]
    assert inputs(made, "tokenize") == {"examples": "curate", "model": model}
    assert inputs(made, "sft") == {"strong": model, "tokens": "tokenize"}
    assert inputs(made, "score-weak") == {"model": model, "tokens": "tokenize"}
    assert inputs(made, "score-strong") == {"model": "sft/model", "tokens": "tokenize"}
    assert inputs(made, "curriculum") == {"weak": "score-weak", "strong": "score-strong"}
    assert inputs(made, "joint") == {
        **{"weak": model, "strong": "sft/model"},
        **{"tokens": "tokenize", "active": "curriculum"},
    }
    assert inputs(made, "eval-wmss")["model"] == "joint/model"
    assert needs(made)["joint"] == {"tokenize", "sft", "curriculum"}
    assert needs(made)["eval-base"] == set()
    assert needs(made)["report"] == set(needs(made)) - {"report"}


def test_kept_epochs_are_evaluated_too(base: dict[str, Any]) -> None:
    joint = JointConfig(epochs=3.0, keep_epochs=True)
    sft = SftConfig(epochs=1.5, keep_epochs=True)
    curriculum = CurriculumConfig(multiplier=0.5)
    controls = ["continued_sft", "softening"]
    made = plan(base, joint=joint, sft=sft, curriculum=curriculum, controls=controls)
    models = {
        label: inputs(made, label)["model"] for label in needs(made) if label.startswith("eval-")
    }
    assert {label: model for label, model in models.items() if "@" in label} == {
        "eval-sft@1": "sft/epoch-1",
        "eval-wmss@1": "joint/epoch-1",
        "eval-wmss@2": "joint/epoch-2",
        "eval-continued_sft@1": "continued_sft/epoch-1",
        "eval-softening@1": "softening/epoch-1",
        "eval-softening@2": "softening/epoch-2",
    }
    assert models["eval-wmss"] == "joint/model"
    assert {"eval-wmss@1", "eval-sft@1"} <= needs(made)["report"]


def test_steps_stand_in_an_order_in_which_they_can_run(base: dict[str, Any]) -> None:
    made = plan(base, iterations=3, controls=["continued_sft", "softening"])
    done: set[str] = set()
    for step in made.steps:
        assert set(step.needs) <= done
        assert step.label not in done
        done.add(step.label)


def test_a_second_iteration_goes_on_from_the_first(base: dict[str, Any]) -> None:
    made = plan(base, iterations=2)
    labels = list(needs(made))
    # The weak model of iteration 2 is the strong one of iteration 1, and is scored already.
    assert [label for label in labels if label.startswith("score")] == [
        *("score-weak-1", "score-strong-1", "score-strong-2")
    ]
    assert inputs(made, "curriculum-2") == {"weak": "score-strong-1", "strong": "score-strong-2"}
    assert inputs(made, "joint-2") == {
        **{"weak": "sft/model", "strong": "joint-1/model"},
        **{"tokens": "tokenize", "active": "curriculum-2"},
    }
    assert needs(made)["joint-2"] == {"tokenize", "sft", "joint-1", "curriculum-2"}
    assert {"eval-wmss-1", "eval-wmss-2"} <= set(labels)
    assert inputs(made, "report")["stage-score-weak-2"] == "score-strong-1"


def test_the_cotrained_weak_model_may_be_the_next_one(base: dict[str, Any]) -> None:
    made = plan(base, iterations=2, joint=JointConfig(next_weak="cotrained"))
    assert inputs(made, "joint-2")["weak"] == "joint-1/weak"
    assert inputs(made, "score-weak-2") == {"model": "joint-1/weak", "tokens": "tokenize"}
    for options in ({"weak_mode": "frozen"}, {"weak_logits": "uniform"}):
        joint = JointConfig(next_weak="cotrained", **options)
        with pytest.raises(ConfigError, match="cotrained needs a weak model that is trained; set"):
            plan(base, iterations=2, joint=joint)


def test_equal_work_stands_in_the_plan_once(tmp_path: Path) -> None:
    made = Plan(tmp_path)
    source = external(write_records(tmp_path / "data.jsonl", right_records(1)))
    first = made.add("one", "sft", SftConfig(), {"strong": source})
    assert made.add("two", "sft", SftConfig(), {"strong": source}) == first
    assert made.add("three", "sft", SftConfig(save_every_steps=7), {"strong": source}) == first
    assert made.add("four", "sft", SftConfig(seed=1), {"strong": source}) != first
    assert [step.label for step in made.steps] == ["one", "four"]


def test_controls_start_where_the_last_joint_training_did(base: dict[str, Any]) -> None:
    joint = JointConfig(learning_rate=3e-4, epochs=2.0, seed=5, mix_lambda=0.3)
    curriculum = CurriculumConfig(multiplier=1.5)
    controls = ["continued_sft", "softening"]
    made = plan(base, iterations=2, joint=joint, curriculum=curriculum, controls=controls)
    assert inputs(made, "continued_sft") == {"strong": "joint-1/model", "tokens": "tokenize"}
    assert inputs(made, "softening") == {
        **{"strong": "joint-1/model", "tokens": "tokenize"},
        **{"active": "curriculum-2"},
    }
    softening = jobs(made)["softening"]
    assert softening.stage == "joint_train"
    assert softening.config == jobs(made)["joint-2"].config | {"weak_logits": "uniform"}
    continued = SftConfig(**jobs(made)["continued_sft"].config)
    expected = {name: getattr(joint, name) for name in SftConfig.model_fields} | {"epochs": 3.0}
    assert continued.model_dump() == expected
    assert {"eval-continued_sft", "eval-softening"} <= set(needs(made))


@pytest.mark.parametrize("multiplier", [0.3, 1.0, 1.5, 2.0])
@pytest.mark.parametrize("epochs", [1.0, 2.0])
@pytest.mark.parametrize("max_steps", [None, 7])
def test_controls_take_as_many_steps_as_the_joint_training(
    base: dict[str, Any], multiplier: float, epochs: float, max_steps: int | None
) -> None:
    joint = JointConfig(epochs=epochs, max_steps=max_steps, global_batch_size=4)
    curriculum = CurriculumConfig(multiplier=multiplier)
    made = plan(base, joint=joint, curriculum=curriculum, controls=["continued_sft"])
    continued = SftConfig(**jobs(made)["continued_sft"].config)
    samples = 130

    def steps(config: Any, rows: int) -> int:
        sizes = (config.global_batch_size, config.micro_batch_tokens)
        limits = (config.epochs, config.max_steps, config.seed)
        return BatchPlan(np.arange(rows), *sizes, *limits).steps

    assert steps(continued, samples) == steps(joint, round(multiplier * samples))


def test_a_softened_joint_training_has_no_weak_model_to_look_at(base: dict[str, Any]) -> None:
    assert inputs(plan(base), "analyze-after-weak") == {"tokens": "tokenize", "model": "joint/weak"}
    for options in ({"weak_mode": "frozen"}, {"weak_logits": "uniform"}):
        assert "analyze-after-weak" not in jobs(plan(base, joint=JointConfig(**options)))


def test_fingerprints_are_known_before_anything_runs(base: dict[str, Any]) -> None:
    made = plan(base, tokenize={"system_prompt": ""})
    planned = jobs(made)
    done = [shards.run(planned["curate"]), tokenize.run(planned["tokenize"])]
    for label, manifest in zip(("curate", "tokenize"), done, strict=True):
        job = planned[label]
        assert Path(job.out).name == f"{label}-{manifest.fingerprint[:10]}"
        assert artifact.describe(job)[0] == manifest.fingerprint
        assert artifact.finished(job) == manifest
    # With its inputs there, the plan of a step that has not run still holds.
    scored = planned["score-weak"]
    assert Path(scored.out).name.endswith(artifact.describe(scored)[0][:10])
    again = jobs(plan(base, tokenize={"system_prompt": ""}))
    assert {label: job.out for label, job in again.items()} == {
        label: job.out for label, job in planned.items()
    }


def test_a_change_reaches_what_depends_on_it_and_nothing_else(base: dict[str, Any]) -> None:
    before = jobs(plan(base))
    after = jobs(plan(base, curriculum=CurriculumConfig(seed=1)))
    moved = {label for label in before if before[label].out != after[label].out}
    assert moved == {"curriculum", "joint", "eval-wmss", *WATCHED[2:], "report"}


def test_other_data_in_the_same_file_is_another_plan(base: dict[str, Any]) -> None:
    before = jobs(plan(base))
    write_records(Path(base["data"][0]), right_records(5))
    after = jobs(plan(base))
    assert all(before[label].out != after[label].out for label in ("curate", "sft", "report"))


@pytest.mark.parametrize(
    ("missing", "named"), [("model", "model"), ("data", "data"), ("eval_files", "tasks")]
)
def test_what_is_not_set_is_named(base: dict[str, Any], missing: str, named: str) -> None:
    del base[missing]
    with pytest.raises(ConfigError, match=f"{named} is not set; the pipeline needs it"):
        plan(base)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"data": ["nowhere.jsonl"]}, r"nowhere\.jsonl: no such file or folder"),
        ({"model": "./nowhere"}, r"nowhere: no such model folder"),
        ({"eval_files": {"x": "nowhere.jsonl"}}, r"nowhere\.jsonl: no such file or folder"),
    ],
)
def test_what_is_not_there_is_found_before_anything_runs(
    base: dict[str, Any], change: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        plan(base, **change)
    assert not Path(base["run_dir"]).exists()


def test_a_shard_has_its_own_fingerprint(base: dict[str, Any]) -> None:
    job = jobs(plan(base, score_entropy={"shards": 2}))["score-weak"]
    pieces = [shard_job(job, shard) for shard in range(2)]
    assert pieces[0].identity != pieces[1].identity
    assert [Path(piece.out).name for piece in pieces] == ["00000-of-00002", "00001-of-00002"]
    assert {Path(piece.out).parent.name for piece in pieces} == {f"{Path(job.out).name}.shards"}
    other = jobs(plan(base, score_entropy={"shards": 3}))["score-weak"]
    assert other.out == job.out, "how it is cut is no part of what it makes"
    assert shard_job(other, 0).identity != pieces[0].identity, "but of what a shard is"
    assert shard_jobs(job) == pieces
