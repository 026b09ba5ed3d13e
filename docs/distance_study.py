"""Make base models whose distance to their own fine-tuning differs, and the studies on them.

``python docs/distance_study.py FOLDER`` writes base models and ``tune.yaml``. After
``wmss run FOLDER/tune.yaml`` the same command chooses a learning rate for each arm, by its mean
accuracy on problems that are kept apart, and writes ``study.yaml``.

The base models are the demo's M0, trained further for 0 to 200 steps on the form of the task
itself, with records that no study sees. The longer, the closer is M0 to its own fine-tuning.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import yaml

from wmss_cli.core.config import Config, CurateConfig, SftConfig, TokenizeConfig
from wmss_cli.core.paths import packaged
from wmss_cli.launch.local import run_local
from wmss_cli.stages.demo import DemoDataConfig, plan_base

STEPS = (0, 12, 25, 50, 100, 200)
"""Of a base model on the form of the task, 32 records each."""

RATES = (2.5e-4, 5e-4, 1e-3, 2e-3)
FACTORS = (0.1, 0.25, 0.5, 1.0)
TUNED = {
    "wmss": "joint.learning_rate",
    "wmss_l80": "joint.learning_rate",
    "continued_sft": "joint.learning_rate",
    "continued_sft_flops": "joint.learning_rate",
    "softening": "joint.learning_rate",
    "shuffled": "joint.learning_rate",
    "self_weak": "joint.learning_rate",
    "ceda": "joint.learning_rate",
    "jtws": "joint.learning_rate",
    "extrapolated": "extrapolate.factor",
}
"""What is tuned of each arm; four values each."""

OWN = {"wmss_l80": {"like": "wmss", "joint.mix_lambda": 0.8}}
"""Arms that the catalogue does not have."""

TUNED_ON = ("d0", "d100")
UNSEEN_SEEDS = {"task form": 1000, "tuning": 2000}


def make_bases(folder: Path) -> dict[str, str]:
    """Train the base models, and return their folders by name."""
    plan, _, base = plan_base(Config(run_dir=str(folder / "bases")))
    form = plan.add("form", "demo_data", DemoDataConfig(seed=UNSEEN_SEEDS["task form"]), {})
    lines = form.part("train.jsonl")
    curated = plan.add("form-curate", "curate", CurateConfig(), {"data-0000": lines})
    tokenize = TokenizeConfig(system_prompt="", max_seq_len=128)
    tokens = plan.add("form-tokens", "tokenize", tokenize, {"examples": curated, "model": base})
    plan.add("tuning", "demo_data", DemoDataConfig(seed=UNSEEN_SEEDS["tuning"]), {})
    models = {"d0": base.path}
    for steps in STEPS[1:]:
        config = SftConfig(
            learning_rate=1e-3,
            epochs=100.0,
            max_steps=steps,
            warmup_ratio=0.1,
            weight_decay=0.01,
            precision="fp32",
            zero_stage=0,
        )
        made = plan.add(f"d{steps}", "sft", config, {"strong": base, "tokens": tokens})
        models[f"d{steps}"] = made.part("model").path
    for step in plan.steps:
        run_local(step.job, say=print)
        print(step.label, "done", flush=True)
    outs = {step.label: step.job.out for step in plan.steps}
    return {
        **models,
        "train": f"{outs['data']}/train.jsonl",
        "test": f"{outs['data']}/test.jsonl",
        "tuning": f"{outs['tuning']}/test.jsonl",
    }


def common(folder: Path, made: dict[str, str]) -> dict[str, Any]:
    """Return what both studies share: the demo's options, and the data."""
    demo = yaml.safe_load((packaged("configs") / "demo.yaml").read_text(encoding="utf-8"))
    sections = {name: demo[name] for name in ("tokenize", "sft", "joint", "eval")}
    return {
        "run_dir": str(folder / "runs"),
        "data": [made["train"]],
        "compare_with": "continued_sft",
        "tables": ["methods", "logits"],
        **sections,
    }


def tuning(folder: Path, made: dict[str, str]) -> dict[str, Any]:
    """Return the study that tunes: each arm with each of its values, one seed."""
    arms: dict[str, Any] = {}
    for arm, key in TUNED.items():
        for value in FACTORS if key.endswith("factor") else RATES:
            arms[f"{arm}_{value:g}"] = {**OWN.get(arm, {"like": arm}), key: value}
    return {
        **common(folder, made),
        "models": {name: made[name] for name in TUNED_ON},
        "seeds": [9],
        "arms": arms,
        "compare_with": f"continued_sft_{RATES[2]:g}",
        "eval_files": {"tuning-problems": made["tuning"]},
    }


def study(folder: Path, made: dict[str, str], chosen: dict[str, float]) -> dict[str, Any]:
    """Return the study itself: the base, M1 and every arm with its chosen value, two seeds."""
    arms: dict[str, Any] = {"base": None, "m1": None}
    for arm, key in TUNED.items():
        arms[arm] = {**OWN.get(arm, {"like": arm}), key: chosen[arm]}
    return {
        **common(folder, made),
        "models": {f"d{steps}": made[f"d{steps}"] for steps in STEPS},
        "seeds": [0, 1],
        "arms": arms,
        "eval_files": {"word-problems": made["test"]},
    }


def choose(folder: Path) -> dict[str, float] | None:
    """Return the value of each arm with the best mean accuracy over the tuned models."""
    record = folder / "runs" / "study.json"
    if not record.is_file():
        return None
    found = json.loads(record.read_text(encoding="utf-8"))
    accuracies: dict[str, dict[float, list[float]]] = {}
    for run in found["study"]["runs"]:
        arm, _, value = run["arm"].rpartition("_")
        manifest = Path(found["artifacts"][run["evaluation"]]) / "manifest.json"
        if arm not in TUNED or not manifest.is_file():
            return None
        metrics = json.loads(manifest.read_text(encoding="utf-8"))["metrics"]
        accuracies.setdefault(arm, {}).setdefault(float(value), []).append(metrics["accuracy"])
    for arm, values in accuracies.items():
        shown = {value: round(100 * sum(got) / len(got), 1) for value, got in values.items()}
        print(f"{arm}: {shown}")
    return {
        arm: max(values, key=lambda value: sum(values[value])) for arm, values in accuracies.items()
    }


def main(folder: Path) -> None:
    """Do what comes next."""
    made = make_bases(folder)
    target, values = folder / "tune.yaml", tuning(folder, made)
    if (folder / "tune.yaml").is_file() and (chosen := choose(folder)) is not None:
        target, values = folder / "study.yaml", study(folder, made, chosen)
    target.write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
    print(f"next: wmss run {target}")


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute())
