"""The configurations that ship with wmss: they plan, they fit, they cost what they say.

Planned with tiny models and a few records in place of the real ones, which change no option.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from commands import right_records, write_records
from tiny import make_tiny_model

from wmss_cli.core.config import Config
from wmss_cli.core.files import canonical_hash
from wmss_cli.core.resolve import resolve
from wmss_cli.evaluate.tasks import shipped
from wmss_cli.preflight.forecast import forecast
from wmss_cli.preflight.inputs import answers_of, gpus_of
from wmss_cli.preflight.workload import workload
from wmss_cli.slurm.profile import load_profile
from wmss_cli.stages.catalogue import CATALOGUE
from wmss_cli.stages.demo import demo_config, plan_base
from wmss_cli.stages.pipeline import StudyPlan, plan_pipeline

ROOT = Path(__file__).parents[1]
CONFIGS = ROOT / "configs"
TRAINING = {"sft", "joint_train"}
NINE = ["aime2025", "math500", "amc23", "aqua", "gsm8k", "mawps", "svamp", "humaneval", "mbpp"]
SECTIONS = (
    *("curate", "tokenize", "sft", "score_entropy", "curriculum", "joint"),
    *("extrapolate", "eval", "analyze"),
)

_QWEN3_4B = {
    "curate": "8e2d6034ecf7ee36",
    "tokenize": "70aa2021c3f28322",
    "sft": "d96fb7428c3f9e97",
    "score_entropy": "bf2f949996507596",
    "curriculum": "efce38df3f799d29",
    "joint": "b7f02105ff15fc91",
    "extrapolate": "f189ebcde52bab88",
    "eval": "cec1433c30400e96",
    "analyze": "4a6af5fb5b8da85d",
}
_TOY = _QWEN3_4B | {
    "tokenize": "ddbc4cd7884743c2",
    "sft": "0369bd4dca519e4b",
    "joint": "31b3f629172c4adf",
    "eval": "e6f878e3092c9963",
}
IDENTITIES: dict[str, dict[str, str]] = {
    "controls": _QWEN3_4B,
    "demo": _TOY,
    "gemma-3-4b": _QWEN3_4B,
    "paper-table1": _QWEN3_4B,
    "paper-table3": _QWEN3_4B,
    "paper-table4": _QWEN3_4B,
    "paper-table5": _QWEN3_4B,
    "qwen2.5-3b": _QWEN3_4B,
    "qwen3-4b": _QWEN3_4B,
    "qwen3.5-4b": _QWEN3_4B,
    "qwen3-8b": _QWEN3_4B | {"sft": "1c4b48c4dfcefca1", "joint": "7c340ff0ab6fba5f"},
    "smollm2-gsm8k": _QWEN3_4B
    | {
        "tokenize": "aa85bcbfb15861b2",
        "sft": "db0854d564fe791b",
        "joint": "e8c8c90acba3d11b",
        "eval": "6ef85db8fb321405",
        "analyze": "fed2b2e16105a31e",
    },
    "toy-study": _TOY,
}
"""The first 16 digits of the hash of what each section puts into fingerprints."""

COUNTS = {
    # trainings, evaluations, first phases (M1), draws of an active set, extrapolations
    "controls": (51, 55, 3, 6, 3),
    "demo": (10, 8, 2, 2, 0),
    "paper-table1": (45, 36, 9, 9, 0),
    "paper-table3": (15, 12, 3, 3, 0),
    "paper-table4": (24, 21, 3, 21, 0),
    "paper-table5": (54, 51, 3, 3, 0),
    "gemma-3-4b": (2, 3, 1, 1, 0),
    "qwen2.5-3b": (2, 3, 1, 1, 0),
    "qwen3-4b": (2, 3, 1, 1, 0),
    "qwen3.5-4b": (2, 3, 1, 1, 0),
    "qwen3-8b": (2, 3, 1, 1, 0),
    "smollm2-gsm8k": (4, 5, 1, 1, 0),
    "toy-study": (33, 37, 3, 3, 3),
}


def shipped_config(name: str) -> Config:
    return resolve(CONFIGS / f"{name}.yaml").config


@pytest.fixture(scope="module")
def stand_ins(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Three tiny models, records, and a file of rows for each of the nine benchmarks."""
    folder = tmp_path_factory.mktemp("configs")
    data = write_records(folder / "data.jsonl", right_records(4))
    benchmarks = folder / "benchmarks"
    benchmarks.mkdir()
    for task in NINE:
        (benchmarks / f"{task}.jsonl").write_text(f'{{"id": "{task}"}}\n', encoding="utf-8")
    models = [str(make_tiny_model(folder / f"model-{i}", seed=i)) for i in range(3)]
    return {"data": str(data), "benchmarks": str(benchmarks), "models": models, "runs": folder}


def plan(name: str, stand_ins: dict[str, Any]) -> StudyPlan:
    """Plan a shipped configuration on the stand-ins; arms, seeds and options are its own."""
    own = shipped_config(name)
    given: dict[str, Any] = {
        "run_dir": str(stand_ins["runs"] / Path(own.run_dir).name),
        "data": [stand_ins["data"]],
    }
    if own.models:
        given["models"] = dict(zip(own.models, stand_ins["models"], strict=True))
    else:
        given["model"] = stand_ins["models"][0]
    if own.tasks:
        given["task_data"] = stand_ins["benchmarks"]
    else:
        given["eval_files"] = {"problems": stand_ins["data"]}
    options = {key: ("a test", value) for key, value in given.items()}
    return plan_pipeline(resolve(CONFIGS / f"{name}.yaml", (), options).config)


def made(study: StudyPlan) -> dict[str, str]:
    """Return the fingerprint of each step's result by its label."""
    return {step.label: step.fingerprint for step in study.steps}


def test_every_shipped_configuration_is_in_these_tables() -> None:
    names = {path.stem for path in CONFIGS.glob("*.yaml")}
    assert names == IDENTITIES.keys() == COUNTS.keys()


@pytest.mark.parametrize("name", IDENTITIES)
def test_identities_stay_what_they_were(name: str) -> None:
    """An upgrade of wmss repeats no finished work.

    For qwen3-4b, qwen3-8b, smollm2-gsm8k and demo these hashes are those of commit 5299a98, which
    had no arms: tokenize, sft, score_entropy, curriculum, joint, eval and analyze are the same;
    curate decides by other rules since.

    Where this test fails, everybody's work of that stage would be done again. An option that
    changes nothing at its default belongs in the section's NEUTRAL; only if the results do
    change, the new hash belongs here.
    """
    config = shipped_config(name)
    hashes = {
        section: canonical_hash(getattr(config, section).identity())[:16] for section in SECTIONS
    }
    assert hashes == IDENTITIES[name]


@pytest.mark.parametrize("name", COUNTS)
def test_they_plan_as_much_work_as_they_say(name: str, stand_ins: dict[str, Any]) -> None:
    study = plan(name, stand_ins)
    stages = Counter(step.job.stage for step in study.steps)
    trainings = sum(stages[stage] for stage in TRAINING)
    first = {step.fingerprint for step in study.steps if re.search(r"(^|/)m1(/|$)", step.label)}
    assert (
        trainings,
        stages["eval"],
        len(first),
        stages["build_curriculum"],
        stages["extrapolate"],
    ) == COUNTS[name]
    assert stages["curate"] == stages["report"] == 1
    assert study.same == ()


@pytest.mark.parametrize("name", COUNTS)
def test_what_a_file_says_it_costs_is_what_it_plans(name: str) -> None:
    text = (CONFIGS / f"{name}.yaml").read_text(encoding="utf-8")
    said = re.search(r"# Cost: (\d+) trainings", text)
    assert said is None or int(said[1]) == COUNTS[name][0]
    evaluations = re.search(r"(\d+)\s+(?:# )?evaluations", text)
    assert evaluations is None or int(evaluations[1]) == COUNTS[name][1]
    has_a_price = name.startswith(("paper-", "toy-", "controls"))
    assert (said is not None and evaluations is not None) == has_a_price


@pytest.mark.parametrize("name", [name for name in COUNTS if name.startswith("paper-")])
def test_a_table_of_the_paper_is_on_its_nine_benchmarks_with_three_seeds(name: str) -> None:
    config = shipped_config(name)
    assert config.tasks == config.decontaminate == NINE
    assert set(NINE) <= shipped().keys()
    assert config.eval.max_new_tokens is None  # each task's own: 4096, and 8192 for two
    assert (config.eval.temperature, config.eval.samples) == (0.0, 1)
    assert config.seeds == [0, 1, 2]
    curriculum, joint = config.curriculum, config.joint
    assert (curriculum.alpha, curriculum.beta, curriculum.gamma) == (0.1, 0.8, 0.1)
    assert (joint.mix_lambda, joint.learning_rate, config.sft.learning_rate) == (0.5, 1e-5, 1e-5)


def test_the_baselines_of_table_1_take_the_epochs_of_both_phases(stand_ins: dict[str, Any]) -> None:
    study = plan("paper-table1", stand_ins)
    epochs = {
        step.label: step.job.config["epochs"]
        for step in study.steps
        if step.job.stage in TRAINING and step.label.startswith("qwen3-4b/")
    }
    for seed in range(3):
        for arm in ("sft", "neftune", "undial"):
            assert epochs[f"qwen3-4b/{arm}/s{seed}"] == 2.0
        assert epochs[f"qwen3-4b/m1/s{seed}"] + epochs[f"qwen3-4b/wmss/s{seed}"] == 2.0


def test_the_tables_share_their_work(stand_ins: dict[str, Any]) -> None:
    first = made(plan("paper-table1", stand_ins))
    others = {name: made(plan(name, stand_ins)) for name in COUNTS if name != "paper-table1"}
    for seed in range(3):
        wmss = first[f"qwen3-4b/wmss/s{seed}"]
        assert others["paper-table3"][f"wmss/s{seed}"] == wmss
        assert others["paper-table4"][f"wmss/s{seed}"] == wmss
        assert others["paper-table5"][f"lam50/s{seed}"] == wmss
        assert others["controls"][f"wmss/s{seed}"] == wmss
        assert others["paper-table3"][f"sft/s{seed}"] == first[f"qwen3-4b/sft/s{seed}"]
        evaluation = first[f"qwen3-4b/eval-wmss/s{seed}"]
        assert others["paper-table5"][f"eval-lam50/s{seed}"] == evaluation
    assert others["qwen3-4b"]["wmss"] == first["qwen3-4b/wmss/s0"]
    folders = {shipped_config(name).run_dir for name in COUNTS if name.startswith("paper-")}
    assert folders == {shipped_config("controls").run_dir}


def test_table_5_has_every_lambda_of_the_paper() -> None:
    config = shipped_config("paper-table5")
    assert isinstance(config.arms, dict)
    values = [arm["joint.mix_lambda"] for arm in config.arms.values() if arm is not None]
    assert values == [n / 100 for n in range(10, 91, 5)]
    assert [f"lam{round(100 * value)}" for value in values] == list(config.arms)


def test_the_arms_of_table_5_share_one_m1_and_one_draw_a_seed(stand_ins: dict[str, Any]) -> None:
    study = plan("paper-table5", stand_ins)
    inputs: dict[str, set[tuple[str, ...]]] = {}
    for step in study.steps:
        if step.job.stage == "joint_train":
            seed = step.label.rpartition("/")[2]
            roles = ("weak", "strong", "active")
            inputs.setdefault(seed, set()).add(tuple(step.job.inputs[role] for role in roles))
    assert {seed: len(found) for seed, found in inputs.items()} == {"s0": 1, "s1": 1, "s2": 1}


def test_the_controls_are_the_whole_catalogue() -> None:
    assert shipped_config("controls").arms == list(CATALOGUE)


def test_the_toy_study_is_on_what_the_demo_makes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The folders in its file are those that `make demo` fills, in the root of the repository."""
    monkeypatch.chdir(ROOT)
    demo = shipped_config("demo").model_copy(update={"run_dir": "runs/demo"})
    _, data, base = plan_base(demo)
    expected = demo_config(demo, data, base)
    toy = shipped_config("toy-study")
    assert expected.model is not None
    assert toy.model == str(ROOT / expected.model)
    assert toy.data == [str(ROOT / path) for path in expected.data]
    assert toy.eval_files == {name: str(ROOT / path) for name, path in expected.eval_files.items()}
    for section in ("tokenize", "sft", "joint", "eval"):
        assert getattr(toy, section).identity() == getattr(demo, section).identity()


# What `wmss plan` says of them, before anything is here.

VARIANTS = {
    "qwen2.5-3b": "h800:3b",
    "qwen3-4b": "h800:4b",
    "qwen3-8b": "h800:8b",
    "gemma-3-4b": "h800:gemma-3-4b",
    "qwen3.5-4b": "h800:qwen3.5-4b",
}


@pytest.mark.parametrize("name", VARIANTS)
def test_a_configuration_of_a_base_model_fits_its_variant_as_the_profile_says(name: str) -> None:
    config = shipped_config(name)
    assert config.launch.profile == VARIANTS[name]
    profile = load_profile(VARIANTS[name])
    work = workload(config)
    found = forecast(config, gpus_of(profile), work, answers_of(config, work))
    assert found.warnings == []
    assert found.assumed[0].startswith("the sizes of ")
    sft, joint = found.trainings
    for training in (sft, joint):
        assert training.warnings == []
        (held,) = (row for row in training.zero if row.zero_stage == training.zero_stage)
        assert held.fits
    train = profile.train
    # One job does it, with time to spare.
    assert 1.9 < train.time_limit_min / 60 / joint.hours < 2.4
    said = _said_of(VARIANTS[name].partition(":")[2])
    planned = {
        "checkpoint": joint.checkpoint_bytes / 1e9,
        "zero": joint.zero_stage,
        "tokens": joint.micro_batch_tokens,
        "peak": held.peak_bytes / 1e9,
        "gpus": found.gpus,
        "hours": joint.hours,
    }
    assert said == pytest.approx(planned, rel=0.05)


def _said_of(variant: str) -> dict[str, float]:
    """Return the numbers in the comments of a variant of the profile."""
    text = (ROOT / "slurm_templates" / "h800.yaml").read_text(encoding="utf-8")
    _, _, own = text.partition(f"\n  {variant}:")
    found = re.search(
        r"(?P<checkpoint>\d+) GB per checkpoint\n.*?# ZeRO (?P<zero>\d), passes of "
        r"(?P<tokens>[\d,]+) tokens: (?P<peak>\d+) GB of 80 on each of (?P<gpus>\d+) GPUs\n.*?"
        r"time_limit_min: \d+ +# (?P<hours>[\d.]+) hours",
        own,
        re.DOTALL,
    )
    assert found is not None
    return {what: float(number.replace(",", "")) for what, number in found.groupdict().items()}
