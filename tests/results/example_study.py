"""Write a small study on the disk in the real formats: manifests, Parquet, training metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from wmss_cli.core.artifact import Job, open_draft
from wmss_cli.core.files import append_json_line, write_json
from wmss_cli.core.schema import ACTIVE, CURRICULUM, GENERATION, write_parquet
from wmss_cli.results.study import Study, StudyArm, StudyRun
from wmss_cli.results.summary import summarize

TASKS = {"gsm8k": 40, "humaneval": 20}
"""Problems of each task."""

STRENGTH = {"base": 0.2, "m1": 0.4, "sft": 0.45, "ceda": 0.45, "jtws": 0.5, "wmss": 0.8}
"""Share of right answers by arm; other arms are as good as sft."""

LOGITS = ("z_target", "gap", "std", "centred_norm", "entropy", "p_max")


def arm(name: str, start: str = "sft", samples: str = "active", **more: Any) -> StudyArm:
    """Describe an arm."""
    objective = more.pop("objective", "cross entropy")
    return StudyArm(
        name=name,
        start=start,
        samples=samples,
        objective=objective,
        purpose=more.pop("purpose", "Table 1"),
        **more,
    )


ARMS = (
    arm("base", "-", "-", objective="-"),
    arm("m1", "base", "all", purpose="where second phases start"),
    arm("sft", "base", "all"),
    arm("ceda", purpose="Table 3"),
    arm("jtws", samples="all", objective="mixed logits", purpose="Table 3"),
    arm("wmss", objective="mixed logits", purpose="the method"),
    arm("lam3", objective="mixed logits", like="wmss", overrides={"joint.mix_lambda": 0.3}),
    arm("lam7", objective="mixed logits", like="wmss", overrides={"joint.mix_lambda": 0.7}),
    arm("even", objective="mixed logits", like="wmss", overrides={"curriculum.alpha": 1.0}),
)
"""Base, M1, three arms of the ablation, the method, two of its lambda and one of its weights."""


def write_study(
    folder: Path,
    arms: Sequence[StudyArm] = ARMS,
    seeds: Sequence[int] = (0, 1, 2),
    tasks: Mapping[str, int] = TASKS,
    models: Sequence[str] = ("",),
    text: str = "<think>Let me see.</think> <answer>\\boxed{%d}</answer>",
    samples: int = 200,
) -> tuple[Study, dict[str, Path]]:
    """Write all artifacts of a study and ``study.json``; return the study and its artifacts."""
    study = plan(arms, seeds, models)
    paths = {label: folder / label.replace("/", "-") for label in study.labels()}
    _curate(paths["curate"])
    for run in study.runs:
        _run(run, paths, tasks, text, samples)
    write_json(
        folder / "study.json",
        {
            "study": study.model_dump(mode="json"),
            "artifacts": {label: str(path) for label, path in paths.items()},
            "commands": ["wmss run study.yaml", "wmss report runs/study"],
        },
    )
    return study, paths


def plan(arms: Sequence[StudyArm], seeds: Sequence[int], models: Sequence[str] = ("",)) -> Study:
    """Return the study: what a pipeline would plan."""
    runs = []
    for model in models:
        for one in arms:
            at = f"{model}/" if model else ""
            if one.name == "base":
                runs.append(
                    StudyRun(
                        model=model,
                        arm="base",
                        seed=None,
                        trainings=[],
                        evaluation=f"{at}eval-base",
                        logits=f"{at}analyze-base",
                    )
                )
                continue
            for seed in seeds:
                end = f"{one.name}-s{seed}"
                first = [f"{at}train-m1-s{seed}"] if one.start == "sft" else []
                runs.append(
                    StudyRun(
                        model=model,
                        arm=one.name,
                        seed=seed,
                        trainings=[*first, f"{at}train-{end}"],
                        evaluation=f"{at}eval-{end}",
                        earlier={"1": f"{at}eval-{one.name}@1-s{seed}"}
                        if one.name == "wmss"
                        else {},
                        logits=f"{at}analyze-{end}",
                        weak_logits=f"{at}analyze-base" if one.name == "wmss" else None,
                        curriculum=f"{at}curriculum-{end}" if one.samples == "active" else None,
                    )
                )
    return Study(
        models={model: f"models/{model or 'tiny'}" for model in models},
        arms=list(arms),
        seeds=list(seeds),
        compare_with="sft",
        tables=["methods", "ablation", "curriculum", "lambda", "epochs", "logits"],
        shared={"curate": "curate"},
        runs=runs,
    )


def write(
    out: Path, stage: str, config: Mapping[str, Any], metrics: Mapping[str, Any], **tables: Any
) -> None:
    """Write an artifact as a stage does; tables are functions of the folder."""
    with open_draft(Job(stage, dict(config), dict(config), {}, str(out))) as draft:
        for table in tables.values():
            table(draft.folder)
        draft.commit(metrics)


def answers(tasks: Mapping[str, int], right: float, seed: int, text: str) -> list[dict[str, Any]]:
    """Make one answer to each problem; the same problems are hard for everybody."""
    rng = np.random.default_rng(seed)
    rows = []
    for task, count in tasks.items():
        hard = np.random.default_rng(count).random(count)
        correct = hard + 0.15 * rng.standard_normal(count) < right
        rows += [
            {
                "task": task,
                "id": f"{task}-{i}",
                "sample": 0,
                "prompt": f"What is <b>{i}</b> + {i}?",
                "text": text % (2 * i if ok else i),
                "reference_answer": str(2 * i),
                "extracted": None if i % 7 == 3 and not ok else str(2 * i if ok else i),
                "correct": bool(ok),
                "reason": "correct" if ok else "wrong_answer",
                "found_in": "boxed",
                "sandbox": None,
                "tokens": 40,
                "finish_reason": "length" if i % 7 == 3 and not ok else "stop",
            }
            for i, ok in enumerate(correct)
        ]
    return rows


def write_evaluation(out: Path, rows: Sequence[Mapping[str, Any]], **config: Any) -> None:
    """Write an artifact of eval."""
    write(
        out,
        "eval",
        {"temperature": 0.0, **config},
        summarize(rows),
        answers=lambda folder: write_parquet(folder / "generations.parquet", rows, GENERATION),
    )


def _run(
    run: StudyRun, paths: Mapping[str, Path], tasks: Mapping[str, int], text: str, samples: int
) -> None:
    # A number of the run, the same in every process.
    number = sum(run.arm.encode()) + 1000 * (run.seed or 0)
    strength = STRENGTH.get(run.arm, 0.45)
    write_evaluation(paths[run.evaluation], answers(tasks, strength, number, text))
    for i, label in enumerate(run.trainings):
        if not paths[label].exists():
            _training(paths[label], run, is_first=i + 1 < len(run.trainings))
    for label in run.earlier.values():
        write_evaluation(paths[label], answers(tasks, strength - 0.1, number + 1, text))
    if run.curriculum is not None:
        _curriculum(paths[run.curriculum], run, samples)
    for label in (run.logits, run.weak_logits):
        if label is not None and not paths[label].exists():
            _logits(paths[label], strength, number)


def _training(out: Path, run: StudyRun, is_first: bool) -> None:
    steps = 30
    rng = np.random.default_rng(run.seed)
    rows = [
        {
            "step": i,
            "loss": 2.0 / i + 0.1 * rng.random(),
            "strong_loss": 1.5 / i + 0.1 * rng.random(),
            "grad_norm": 1.0 + rng.random(),
        }
        for i in range(1, steps + 1)
    ]
    mixed = run.arm not in ("m1", "sft", "ceda") and not is_first
    config = {"seed": run.seed, "epochs": 1.0, "learning_rate": 1e-5}
    if mixed:
        config["mix_lambda"] = {"lam3": 0.3, "lam7": 0.7}.get(run.arm, 0.5)
    metrics = {
        "steps": steps,
        "tokens": 3000 * steps,
        "train_seconds": 100.0 * (2 if mixed else 1),
        "tokens_per_s": 900.0,
        "first_loss": rows[0]["loss"],
        "last_loss": rows[-1]["loss"],
        "last_strong_loss": rows[-1]["strong_loss"],
        "flops": 1e15 * (2 if mixed else 1),
        "world_size": 2,
        "device": "cuda",
    }

    def curve(folder: Path) -> None:
        for row in rows:
            append_json_line(folder / "metrics.jsonl", row)
        for step in (0, 10, 20, 30):
            row = {"step": step, **{name: step / 10 + i for i, name in enumerate(LOGITS)}}
            append_json_line(folder / "logits.jsonl", row)

    write(out, "joint_train" if mixed else "sft", config, metrics, curve=curve)


def _curriculum(out: Path, run: StudyRun, samples: int) -> None:
    rng = np.random.default_rng(5)
    weak = rng.gamma(4.0, 0.15, samples)
    strong = weak * rng.uniform(0.4, 1.3, samples)
    weight = 0.1 * weak + 0.8 * np.maximum(weak - strong, 0) + 0.1 * np.maximum(strong - weak, 0)
    probability = weight / weight.sum()
    columns = zip(weak.tolist(), strong.tolist(), probability.tolist(), strict=True)
    rows = [
        {
            "example_id": f"{i:032x}",
            "entropy_weak": a,
            "entropy_strong": b,
            "probability": p,
        }
        for i, (a, b, p) in enumerate(columns)
    ]
    active = [{"example_id": row["example_id"], "count": 2} for row in rows[: samples // 2]]

    def tables(folder: Path) -> None:
        write_parquet(folder / "curriculum.parquet", rows, CURRICULUM)
        write_parquet(folder / "active.parquet", active, ACTIVE)

    write(
        out,
        "build_curriculum",
        {"alpha": 1.0 if run.arm == "even" else 0.1, "beta": 0.8, "gamma": 0.1, "seed": run.seed},
        {
            "samples": samples,
            "active_samples": samples,
            "unique_samples": samples // 2,
            "effective_sample_size": 0.8 * samples,
            "share_alpha": 0.3,
            "share_beta": 0.65,
            "share_gamma": 0.05,
            "mean_entropy_weak_nats": float(weak.mean()),
            "mean_entropy_strong_nats": float(strong.mean()),
        },
        tables=tables,
    )


def _logits(out: Path, strength: float, number: int) -> None:
    rng = np.random.default_rng(number)
    table = pa.table(
        {
            "example_id": [f"{i:032x}" for i in range(50)],
            "loss": (1.0 - strength + 0.2 * rng.random(50)).tolist(),
            "completion_tokens": [30] * 50,
        }
    )
    write(
        out,
        "analyze",
        {"samples": 50},
        {
            "samples": 50,
            "statistics": {name: 10.0 * strength + i for i, name in enumerate(LOGITS)},
        },
        losses=lambda folder: pq.write_table(table, folder / "losses.parquet"),
    )


def _curate(out: Path) -> None:
    write(
        out,
        "curate",
        {"format": "tags"},
        {
            "records": 250,
            "kept": 200,
            "rejected": {"duplicate": 30, "wrong_answer": 20},
            "by_kind": {"math": {"total": 250, "kept": 200}},
            "by_source": {"sums": {"total": 250, "kept": 200}},
            "first_unreadable": [],
            "decontaminated_against": ["gsm8k"],
            "sandbox": [],
        },
    )
