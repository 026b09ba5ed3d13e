"""Grading again gives today's verdicts to yesterday's answers."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from wmss_cli.core.artifact import Job
from wmss_cli.core.config import GradeConfig
from wmss_cli.core.errors import ConfigError
from wmss_cli.core.schema import GENERATION, read_parquet, write_parquet
from wmss_cli.stages import grade


def answer(problem: str, text: str, correct: bool) -> dict[str, Any]:
    return {
        "task": "sums",
        "id": problem,
        "sample": 0,
        "prompt": f"{problem}?",
        "text": text,
        "reference_answer": "2",
        "extracted": None,
        "correct": correct,
        "reason": "no_answer",
        "found_in": None,
        "sandbox": None,
        "tokens": 3,
        "finish_reason": "stop",
    }


@pytest.fixture
def answers(tmp_path: Path) -> Path:
    """Three answers that an earlier grader could not read."""
    folder = tmp_path / "answers"
    folder.mkdir()
    texts = {"a": "<answer>2</answer>", "b": "<answer>3</answer>", "c": "no idea"}
    rows = [answer(problem, text, correct=False) for problem, text in texts.items()]
    write_parquet(folder / "generations.parquet", rows, GENERATION)
    return folder


def job(answers: Path, problems: str, tmp_path: Path) -> Job:
    file = tmp_path / "sums.jsonl"
    rows = [{"id": name, "question": f"{name}?", "answer": "2"} for name in problems]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = GradeConfig(verify_timeout_s=10.0, workers=1, unsafe_programs=False)
    return Job(
        stage="grade",
        config=config.model_dump(mode="json"),
        identity=config.identity(),
        inputs={"answers": str(answers), "task-sums": str(file)},
        out=str(tmp_path / "out"),
    )


def test_only_the_verdicts_change(answers: Path, tmp_path: Path) -> None:
    manifest = grade.run(job(answers, "abcd", tmp_path))
    before, after = (
        read_parquet(folder / "generations.parquet", GENERATION)
        for folder in (answers, tmp_path / "out")
    )
    assert after["correct"].to_pylist() == [True, False, False]
    assert after["extracted"].to_pylist()[:2] == ["2", "3"]
    assert after["found_in"].to_pylist() == ["whole", "whole", None]
    for column in ("task", "id", "sample", "prompt", "text", "tokens", "finish_reason"):
        assert after[column] == before[column]
    assert manifest.metrics["changed_verdicts"] == 1
    assert manifest.metrics["accuracy"] == pytest.approx(1 / 3)


def test_a_fixed_reference_is_in_the_row(answers: Path, tmp_path: Path) -> None:
    task = job(answers, "abc", tmp_path)
    rows = [{"id": name, "question": f"{name}?", "answer": "3"} for name in "abc"]
    file = Path(task.inputs["task-sums"])
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    grade.run(task)
    graded = read_parquet(tmp_path / "out" / "generations.parquet", GENERATION).to_pylist()
    assert [row["reference_answer"] for row in graded] == ["3"] * 3
    assert [row["correct"] for row in graded] == [False, True, False]


def test_an_answer_to_an_unknown_problem(answers: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="the problem sums c is not among the tasks"):
        grade.run(job(answers, "ab", tmp_path))


def test_a_benchmark_that_a_limit_has_cut(answers: Path, tmp_path: Path) -> None:
    spec = "title: Sums\ngrader: math\nrows: {rows}\n"
    task = job(answers, "abc", tmp_path)
    (tmp_path / "sums.yaml").write_text(spec.format(rows=5))
    inputs = task.inputs | {"spec-sums": str(tmp_path / "sums.yaml")}
    assert grade.run(replace(task, inputs=inputs)).metrics["tasks"]["sums"]["n"] == 3


def test_a_whole_benchmark_has_to_be_whole(answers: Path, tmp_path: Path) -> None:
    task = job(answers, "abcd", tmp_path)
    (tmp_path / "sums.yaml").write_text("title: Sums\ngrader: math\nrows: 3\n")
    inputs = task.inputs | {"spec-sums": str(tmp_path / "sums.yaml")}
    with pytest.raises(ConfigError, match="4 problems, but Sums has 3"):
        grade.run(replace(task, inputs=inputs))
