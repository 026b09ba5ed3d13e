"""The plan: every fingerprint before anything runs, equal work once, what needs what."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import right_records, write_records
from tiny import make_tiny_model

from wmss_cli.core import artifact
from wmss_cli.core.artifact import Job
from wmss_cli.core.config import (
    Config,
    CurriculumConfig,
    JointConfig,
    SftConfig,
    TrainConfig,
)
from wmss_cli.core.errors import ConfigError
from wmss_cli.core.selection import Selection
from wmss_cli.data.batches import BatchPlan
from wmss_cli.stages import shards, tokenize
from wmss_cli.stages.catalogue import CATALOGUE
from wmss_cli.stages.pipeline import StudyPlan, plan_pipeline, token_table
from wmss_cli.stages.plan import Plan, external, select
from wmss_cli.stages.shards import shard_job, shard_jobs


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


def plan(base: dict[str, Any], **options: Any) -> StudyPlan:
    return plan_pipeline(Config(**(base | options)))


def needs(made: StudyPlan) -> dict[str, set[str]]:
    return {step.label: set(step.needs) for step in made.steps}


def jobs(made: StudyPlan) -> dict[str, Job]:
    return {step.label: step.job for step in made.steps}


def inputs(made: StudyPlan, label: str) -> dict[str, str]:
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


def test_one_arm_and_what_it_is_compared_with(base: dict[str, Any]) -> None:
    made = plan(base)
    assert list(needs(made)) == [
        *("curate", "tokenize", "eval-base", "logits-base", "m1", "eval-m1", "logits-m1"),
        *("score-base", "score-m1", "curriculum", "wmss"),
        *("eval-wmss", "logits-wmss", "logits-wmss-weak", "report"),
    ]
    model = base["model"]
    assert inputs(made, "tokenize") == {"examples": "curate", "model": model}
    assert inputs(made, "m1") == {"strong": model, "tokens": "tokenize"}
    assert inputs(made, "score-base") == {"model": model, "tokens": "tokenize"}
    assert inputs(made, "score-m1") == {"model": "m1/model", "tokens": "tokenize"}
    assert inputs(made, "curriculum") == {"weak": "score-base", "strong": "score-m1"}
    assert inputs(made, "wmss") == {
        **{"weak": model, "strong": "m1/model"},
        **{"tokens": "tokenize", "active": "curriculum"},
    }
    assert inputs(made, "eval-wmss")["model"] == "wmss/model"
    assert needs(made)["wmss"] == {"tokenize", "m1", "curriculum"}
    assert needs(made)["eval-base"] == set()
    assert made.study.compare_with == "m1"


def test_the_report_reads_all_that_the_study_names(base: dict[str, Any]) -> None:
    made = plan(base, arms=list(CATALOGUE), seeds=[0, 1])
    report = inputs(made, "report")
    assert set(report) == set(made.study.labels())
    assert report == {label: label for label in report}
    assert made.steps[-1].label == "report"


@pytest.mark.parametrize("arm", CATALOGUE)
def test_each_arm_of_the_catalogue_is_trained_as_its_row_says(
    base: dict[str, Any], arm: str
) -> None:
    made = plan(base, arms=[arm], joint=JointConfig(epochs=2.0), sft=SftConfig(epochs=3.0))
    row = CATALOGUE[arm]
    (run,) = made.study.runs
    before = ["m1"] if row.start == "sft" else []
    assert run.trainings == ([*before, arm] if row.rule.stage else [])
    if not row.rule.stage:
        return
    found = inputs(made, run.trainings[-1])
    job = jobs(made)[run.trainings[-1]]
    assert job.stage == row.rule.stage
    assert ("active" in found) == (row.samples in ("active", "random"))
    assert (
        found.get("weak")
        == {
            "previous": base["model"],
            "self": "m1/model",
            "none": None,
        }[row.rule.weak]
    )
    assert {key: job.config[key] for key in row.rule.options} == dict(row.rule.options)
    epochs = {"first": 3.0, "both": 5.0, "joint": 2.0, "flops": 2.0}.get(row.steps)
    assert job.config.get("epochs") == epochs


def test_seeds_share_what_no_seed_decides(base: dict[str, Any]) -> None:
    made = plan(base, arms=["wmss", "continued_sft"], seeds=[0, 1, 2])
    labels = list(needs(made))
    for once in ("curate", "tokenize", "score-base"):
        assert labels.count(once) == 1
    for each in ("m1", "score-m1", "curriculum", "wmss", "continued_sft", "eval-wmss"):
        assert [label for label in labels if label.split("/")[0] == each] == [
            f"{each}/s{seed}" for seed in range(3)
        ]
    assert jobs(made)["wmss/s2"].config["seed"] == 2
    # Greedy answers follow from the model alone.
    assert jobs(made)["eval-wmss/s2"].identity["seed"] == 0


def test_a_seed_or_an_arm_that_is_added_later_is_all_that_is_new(base: dict[str, Any]) -> None:
    before = {step.fingerprint for step in plan(base, arms=["sft", "wmss"], seeds=[0]).steps}
    wider = plan(base, arms=["sft", "wmss", "ceda"], seeds=[0, 1]).steps
    new = {step.label for step in wider if step.fingerprint not in before}
    assert {label for label in new if not label.endswith("/s1")} == {
        *("ceda/s0", "eval-ceda/s0", "logits-ceda/s0", "report"),
    }


def test_several_base_models_are_a_study_of_each(base: dict[str, Any], tmp_path: Path) -> None:
    models = {"a": base.pop("model"), "b": str(make_tiny_model(tmp_path / "b", seed=1))}
    made = plan(base, models=models, arms=["base", "wmss"], seeds=[0])
    labels = list(needs(made))
    assert {"curate", "a/tokenize", "b/tokenize", "a/wmss/s0", "b/wmss/s0"} <= set(labels)
    assert {run.model for run in made.study.runs} == {"a", "b"}
    assert [step.label for step in select(made.steps, Selection("base", model="b"))] == [
        *("curate", "b/tokenize", "b/eval-base", "b/logits-base")
    ]


def test_sampled_answers_differ_by_seed(base: dict[str, Any]) -> None:
    greedy = plan(base, arms=["base"], seeds=[0, 1])
    assert [run.evaluation for run in greedy.study.runs] == ["eval-base"]
    drawn = plan(base, arms=["base"], seeds=[0, 1], eval={"temperature": 0.7})
    assert [run.evaluation for run in drawn.study.runs] == ["eval-base/s0", "eval-base/s1"]


def test_steps_know_who_needs_them(base: dict[str, Any]) -> None:
    made = plan(base, arms=["base", "wmss", "continued_sft"], seeds=[0, 1])
    steps = {step.label: step for step in made.steps}
    assert steps["m1/s0"].arms == ("wmss", "continued_sft")
    assert steps["m1/s0"].seeds == (0,)
    assert steps["curate"].arms == ("base", "wmss", "continued_sft")
    assert [step.label for step in select(made.steps, Selection("continued_sft", 1))] == [
        *("curate", "tokenize", "m1/s1"),
        *("continued_sft/s1", "eval-continued_sft/s1", "logits-continued_sft/s1"),
    ]
    with pytest.raises(ConfigError, match="--arm wms: the study has base, continued_sft, wmss"):
        select(made.steps, Selection("wms"))
    with pytest.raises(ConfigError, match="--seed 7: the study has 0, 1"):
        select(made.steps, Selection(seed=7))


def test_kept_epochs_are_evaluated_too(base: dict[str, Any]) -> None:
    joint = JointConfig(epochs=3.0, keep_epochs=True)
    sft = SftConfig(epochs=1.5, keep_epochs=True)
    curriculum = CurriculumConfig(multiplier=0.5)
    arms = ["m1", "wmss", "continued_sft", "softening"]
    made = plan(base, joint=joint, sft=sft, curriculum=curriculum, arms=arms)
    models = {
        label: inputs(made, label)["model"] for label in needs(made) if label.startswith("eval-")
    }
    assert {label: model for label, model in models.items() if "@" in label} == {
        "eval-m1@1": "m1/epoch-1",
        "eval-wmss@1": "wmss/epoch-1",
        "eval-wmss@2": "wmss/epoch-2",
        "eval-continued_sft@1": "continued_sft/epoch-1",
        "eval-softening@1": "softening/epoch-1",
        "eval-softening@2": "softening/epoch-2",
    }
    assert models["eval-wmss"] == "wmss/model"
    assert {"eval-wmss@1", "eval-m1@1"} <= needs(made)["report"]


def test_steps_come_in_an_order_in_which_they_can_run(base: dict[str, Any]) -> None:
    names = [name for name in CATALOGUE if name != "continued_sft_flops"]
    made = plan(base, iterations=3, arms=names, seeds=[0, 1])
    done: set[str] = set()
    for step in made.steps:
        assert set(step.needs) <= done
        assert step.label not in done
        done.add(step.label)


def test_a_second_iteration_continues_from_the_first(base: dict[str, Any]) -> None:
    made = plan(base, iterations=2)
    labels = list(needs(made))
    # The weak model of iteration 2 is the strong one of iteration 1, and is scored already.
    assert [label for label in labels if label.startswith("score")] == [
        *("score-base", "score-m1", "score-wmss-1")
    ]
    assert inputs(made, "curriculum-wmss-2") == {"weak": "score-m1", "strong": "score-wmss-1"}
    assert inputs(made, "wmss") == {
        **{"weak": "m1/model", "strong": "wmss-1/model"},
        **{"tokens": "tokenize", "active": "curriculum-wmss-2"},
    }
    assert {"eval-wmss", "eval-wmss@K1"} <= set(labels)


def test_the_cotrained_weak_model_may_be_the_next_one(base: dict[str, Any]) -> None:
    made = plan(base, iterations=2, joint=JointConfig(next_weak="cotrained"))
    assert inputs(made, "wmss")["weak"] == "wmss-1/weak"
    assert inputs(made, "score-wmss-1-weak") == {"model": "wmss-1/weak", "tokens": "tokenize"}
    for options in ({"weak_mode": "frozen"}, {"weak_logits": "uniform"}):
        joint = JointConfig(next_weak="cotrained", **options)
        with pytest.raises(ConfigError, match="cotrained needs a weak model that is trained; set"):
            plan(base, iterations=2, joint=joint)


def test_equal_work_is_in_the_plan_once(tmp_path: Path) -> None:
    made = Plan(tmp_path)
    source = external(write_records(tmp_path / "data.jsonl", right_records(1)))
    first = made.add("one", "sft", SftConfig(), {"strong": source})
    assert made.add("two", "sft", SftConfig(), {"strong": source}) == first
    assert made.add("three", "sft", SftConfig(save_every_steps=7), {"strong": source}) == first
    assert made.add("four", "sft", SftConfig(seed=1), {"strong": source}) != first
    assert [step.label for step in made.steps] == ["one", "four"]


def test_plain_training_of_the_second_phase_has_the_options_of_joint(base: dict[str, Any]) -> None:
    joint = JointConfig(learning_rate=3e-4, epochs=2.0, seed=5, mix_lambda=0.3)
    curriculum = CurriculumConfig(multiplier=1.5)
    made = plan(base, joint=joint, curriculum=curriculum, arms=["continued_sft", "softening"])
    assert inputs(made, "continued_sft") == {"strong": "m1/model", "tokens": "tokenize"}
    assert inputs(made, "softening") == {
        **{"strong": "m1/model", "tokens": "tokenize"},
        **{"active": "curriculum"},
    }
    assert jobs(made)["softening"].config == joint.model_dump() | {"weak_logits": "uniform"}
    continued = SftConfig(**jobs(made)["continued_sft"].config)
    expected = {name: getattr(joint, name) for name in TrainConfig.model_fields} | {"epochs": 3.0}
    assert continued == SftConfig(**expected)


@pytest.mark.parametrize("multiplier", [0.3, 1.0, 1.5, 2.0])
@pytest.mark.parametrize("epochs", [1.0, 2.0])
@pytest.mark.parametrize("max_steps", [None, 7])
@pytest.mark.parametrize("iterations", [1, 3])
def test_continued_sft_takes_as_many_steps_as_the_joint_training(
    base: dict[str, Any],
    multiplier: float,
    epochs: float,
    max_steps: int | None,
    iterations: int,
) -> None:
    joint = JointConfig(epochs=epochs, max_steps=max_steps, global_batch_size=5)
    curriculum = CurriculumConfig(multiplier=multiplier)
    made = plan(
        base, joint=joint, curriculum=curriculum, iterations=iterations, arms=["continued_sft"]
    )
    continued = SftConfig(**jobs(made)["continued_sft"].config)
    samples = 100

    def steps(config: Any, rows: int) -> int:
        sizes = (config.global_batch_size, config.micro_batch_tokens)
        limits = (config.epochs, config.max_steps, config.seed)
        return BatchPlan(np.arange(rows), *sizes, *limits).steps

    assert steps(continued, samples) == iterations * steps(joint, round(multiplier * samples))


def test_only_a_weak_model_that_was_trained_is_looked_at(base: dict[str, Any]) -> None:
    assert inputs(plan(base), "logits-wmss-weak")["model"] == "wmss/weak"
    for options in ({"weak_mode": "frozen"}, {"weak_logits": "uniform"}):
        assert "logits-wmss-weak" not in needs(plan(base, joint=JointConfig(**options)))


def test_an_arm_that_is_derived_is_checked_when_it_is_planned(base: dict[str, Any]) -> None:
    joint = JointConfig(weak_mode="frozen", cache_weak=True)
    made = plan(base, joint=joint, arms=["wmss", "softening", "shuffled", "noise"])
    for arm in ("softening", "shuffled", "noise"):
        JointConfig.model_validate(jobs(made)[arm].config)
    with pytest.raises(ConfigError, match=r"arm self: joint: cache_weak needs weak_mode frozen"):
        plan(base, joint=joint, arms={"self": {"like": "self_weak", "joint.weak_mode": "cotrain"}})
    fused = JointConfig(loss_backend="liger")
    with pytest.raises(ConfigError, match=r"arm noise: joint: loss_backend liger does not compute"):
        plan(base, joint=fused, arms=["wmss", "noise"])


def test_an_override_is_checked_beside_what_the_objective_sets(base: dict[str, Any]) -> None:
    made = plan(base, arms={"own": {"like": "wmss_frozen", "joint.cache_weak": True}})
    assert jobs(made)["own"].config["cache_weak"]


def test_a_distillation_from_the_base_model_has_it_as_its_reference(base: dict[str, Any]) -> None:
    own = {"start": "base", "samples": "all", "objective": "undial_kd"}
    made = plan(base, arms={"continued_sft": None, "own": own})
    assert inputs(made, "own")["reference"] == base["model"]
    made = plan(base, sft=SftConfig(objective="undial_kd"))
    assert inputs(made, "m1")["reference"] == base["model"]


def set_in_config(base: dict[str, Any], tmp_path: Path, **values: Any) -> Path:
    """Copy the base model and change values of its config.json."""
    folder = Path(shutil.copytree(base["model"], tmp_path / "changed"))
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))
    base["model"] = str(folder)
    return folder


def test_an_arm_that_counts_flops_needs_a_model_whose_flops_can_be_counted(
    base: dict[str, Any], tmp_path: Path
) -> None:
    set_in_config(base, tmp_path, num_experts=4)
    plan(base, arms=["wmss", "continued_sft"])
    message = r"arm continued_sft_flops counts FLOPs: .*mixture of experts.*, or leave it out$"
    with pytest.raises(ConfigError, match=message):
        plan(base, arms=["continued_sft", "continued_sft_flops"])


def test_an_arm_of_equal_flops_keeps_no_epochs(base: dict[str, Any]) -> None:
    joint = JointConfig(epochs=3.0, keep_epochs=True)
    made = plan(base, joint=joint, arms=["continued_sft", "continued_sft_flops"])
    earlier = {run.arm: list(run.earlier) for run in made.study.runs}
    assert earlier == {"continued_sft": ["1", "2"], "continued_sft_flops": []}
    assert not jobs(made)["continued_sft_flops"].config["keep_epochs"]


def test_an_extrapolated_arm_needs_safetensors(base: dict[str, Any], tmp_path: Path) -> None:
    folder = set_in_config(base, tmp_path)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    plan(base, arms=["continued_sft"])
    with pytest.raises(ConfigError, match=r"arm extrapolated: .*changed: no safetensors files"):
        plan(base, arms=["extrapolated"])


def test_a_quantised_base_model_is_refused(base: dict[str, Any], tmp_path: Path) -> None:
    set_in_config(base, tmp_path, quantization_config={"quant_method": "fp8"})
    with pytest.raises(ConfigError, match=r"changed: its weights are quantised \(fp8\); use the"):
        plan(base)


def test_arms_that_are_the_same_work_are_trained_once(base: dict[str, Any]) -> None:
    arms = {"wmss": None, "half": {"like": "wmss", "joint.mix_lambda": 0.5}, "wmss_frozen": None}
    made = plan(base, arms=arms, joint=JointConfig(weak_mode="frozen"))
    assert made.same == (("half", "wmss"), ("wmss_frozen", "wmss"))
    assert sum(step.job.stage == "joint_train" for step in made.steps) == 1


@pytest.mark.parametrize(
    ("arm", "key", "value"),
    [
        ("continued_sft", "joint.mix_lambda", 0.3),
        ("jtws", "curriculum.alpha", 0.7),
        ("neftune", "extrapolate.factor", 0.7),
        ("softening", "joint.weak_mode", "frozen"),
        ("continued_sft", "sft.undial_beta", 3.0),
        # M1 is shared, and no fingerprint shows how its work is cut.
        ("continued_sft", "sft.micro_batch_tokens", 111),
    ],
)
def test_an_override_that_an_arm_cannot_use_is_refused(
    base: dict[str, Any], arm: str, key: str, value: Any
) -> None:
    with pytest.raises(ConfigError, match=f"arm own: {key} changes nothing in what it trains"):
        plan(base, arms={"own": {"like": arm, key: value}})


def test_what_an_arm_minimises_does_not_change_the_m1_that_it_shares(base: dict[str, Any]) -> None:
    noisy = {"like": "continued_sft", "sft.neftune_alpha": 5.0}
    made = plan(base, arms={"continued_sft": None, "noisy": noisy})
    assert jobs(made)["noisy"].config["neftune_alpha"] == 5.0
    assert sum(step.label.startswith("m1") for step in made.steps) == 1
    slow = {"like": "continued_sft", "sft.learning_rate": 1e-6}
    made = plan(base, arms={"continued_sft": None, "slow": slow})
    assert {"m1", "m1-slow"} <= set(needs(made))


def test_how_the_work_of_an_arm_is_cut_is_its_own(base: dict[str, Any]) -> None:
    own = {"like": "continued_sft", "joint.micro_batch_tokens": 111, "joint.epochs": 2.0}
    made = plan(base, arms={"own": own, "continued_sft": None})
    cut = {label: job.config.get("micro_batch_tokens") for label, job in jobs(made).items()}
    usual = SftConfig().micro_batch_tokens
    assert (cut["own"], cut["m1"], cut["continued_sft"]) == (111, usual, usual)


def test_two_names_of_one_base_model_are_refused(base: dict[str, Any]) -> None:
    models = {"a": base.pop("model"), "b": ""}
    models["b"] = f"{models['a']}/../{Path(models['a']).name}"
    with pytest.raises(ConfigError, match=r"models: a and b are both .*; keep one"):
        plan(base, models=models)


def test_an_arm_may_start_where_another_one_ended(base: dict[str, Any]) -> None:
    arms = {"more": {"like": "continued_sft", "start": "softening"}}
    made = plan(base, arms=arms)
    assert inputs(made, "more")["strong"] == "softening/model"
    assert made.study.runs[0].trainings == ["m1", "softening", "more"]


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
    scored = planned["score-base"]
    assert Path(scored.out).name.endswith(artifact.describe(scored)[0][:10])
    again = jobs(plan(base, tokenize={"system_prompt": ""}))
    assert {label: job.out for label, job in again.items()} == {
        label: job.out for label, job in planned.items()
    }


def test_a_change_reaches_what_depends_on_it_and_nothing_else(base: dict[str, Any]) -> None:
    before = jobs(plan(base))
    after = jobs(plan(base, curriculum=CurriculumConfig(seed=1)))
    moved = {label for label in before if before[label].out != after[label].out}
    assert moved == {
        *("curriculum", "wmss", "eval-wmss", "logits-wmss", "logits-wmss-weak", "report")
    }


def test_other_data_in_the_same_file_is_another_plan(base: dict[str, Any]) -> None:
    before = jobs(plan(base))
    write_records(Path(base["data"][0]), right_records(5))
    after = jobs(plan(base))
    assert all(before[label].out != after[label].out for label in ("curate", "m1", "report"))


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
def test_what_does_not_exist_is_found_before_anything_runs(
    base: dict[str, Any], change: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        plan(base, **change)
    assert not Path(base["run_dir"]).exists()


def test_a_shard_has_its_own_fingerprint(base: dict[str, Any]) -> None:
    job = jobs(plan(base, score_entropy={"shards": 2}))["score-base"]
    pieces = [shard_job(job, shard) for shard in range(2)]
    assert pieces[0].identity != pieces[1].identity
    assert [Path(piece.out).name for piece in pieces] == ["00000-of-00002", "00001-of-00002"]
    assert {Path(piece.out).parent.name for piece in pieces} == {f"{Path(job.out).name}.shards"}
    other = jobs(plan(base, score_entropy={"shards": 3}))["score-base"]
    assert other.out == job.out, "how it is cut does not change what it makes"
    assert shard_job(other, 0).identity != pieces[0].identity, "but of what a shard is"
    assert shard_jobs(job) == pieces


@pytest.mark.parametrize(
    ("arms", "label"),
    [
        ({"curate": {"like": "wmss"}}, "curate"),
        ({"report": {"like": "wmss"}}, "report"),
        ({"wmss": None, "score-base": {"like": "ceda"}}, "score-base"),
        ({"m1": {"like": "wmss"}}, "m1"),
        (
            {"wmss": None, "wmss-weak": {"like": "wmss", "joint.mix_lambda": 0.3}},
            "logits-wmss-weak",
        ),
    ],
)
def test_an_arm_that_is_called_as_a_step_is(
    base: dict[str, Any], arms: dict[str, Any], label: str
) -> None:
    with pytest.raises(ConfigError, match=f"arms: two steps would be called {label}; give the arm"):
        plan(base, arms=arms)


def test_the_first_phase_matches_the_flops_of_nothing(base: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="match_flops: the first phase has no joint training"):
        plan(base, sft=SftConfig(match_flops="frozen"))
