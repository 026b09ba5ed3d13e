"""Tasks: the benchmarks that ship, and those of one's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from wmss_cli.core.errors import ConfigError
from wmss_cli.evaluate.problems import read_problems
from wmss_cli.evaluate.tasks import Task, read_spec, read_tasks, shipped, task_inputs

NINE = ("aime2025", "math500", "amc23", "aqua", "gsm8k", "mawps", "svamp", "humaneval", "mbpp")


def test_the_nine_benchmarks_ship_and_two_that_are_easily_confused_with_them() -> None:
    assert set(shipped()) == {*NINE, "mawps_qwen2065", "mbpp_sanitized"}
    for name, path in shipped().items():
        task = read_spec(path)
        assert task.name == name
        assert task.rows
        assert task.sha256
        assert task.format
        assert task.sources


@pytest.mark.parametrize("name", shipped())
def test_the_real_files_say_what_the_checksums_stand_for(shared_data: Path, name: str) -> None:
    task = read_spec(shipped()[name])
    assert len(read_problems(task, shared_data / f"{name}.jsonl")) == task.rows


def test_a_name_stands_for_its_rows_in_the_data_folder() -> None:
    assert task_inputs(["gsm8k"], "data", {}) == {
        "task-gsm8k": "data/gsm8k.jsonl",
        "spec-gsm8k": str(shipped()["gsm8k"]),
    }


def test_a_file_of_a_known_name_is_that_task_and_any_other_is_plain_math() -> None:
    inputs = task_inputs([], None, {"aqua": "a.jsonl", "sums": "s.jsonl"})
    (aqua, rows), (sums, _) = read_tasks(inputs)
    assert (aqua.grader, rows) == ("choice", Path("a.jsonl"))
    assert sums == Task(name="sums", title="sums", grader="math")


def test_a_task_of_ones_own_is_one_yaml_file(tmp_path: Path) -> None:
    spec = tmp_path / "physics.yaml"
    spec.write_text("title: Physics\ngrader: number\nfile: rows.jsonl\nmax_new_tokens: 100\n")
    inputs = task_inputs([str(spec)], None, {})
    ((task, rows),) = read_tasks(inputs)
    assert (task.name, task.title, task.max_new_tokens) == ("physics", "Physics", 100)
    assert rows == tmp_path / "rows.jsonl"


@pytest.mark.parametrize(
    ("tasks", "folder", "files", "message"),
    [
        (["gsm8"], "data", {}, "task gsm8: unknown; did you mean gsm8k"),
        (["zebra"], "data", {}, "task zebra: unknown; the tasks are aime2025, amc23"),
        (
            ["gsm8k"],
            None,
            {},
            "gsm8k: task_data is not set; name the folder that 'wmss data",
        ),
        (["gsm8k", "gsm8k"], "data", {}, "task gsm8k is given twice"),
        (["gsm8k"], "data", {"gsm8k": "x.jsonl"}, "task gsm8k is given twice"),
        (["nowhere.yaml"], None, {}, "nowhere.yaml: no such task"),
    ],
)
def test_what_cannot_be_meant_is_said_in_one_line(
    tasks: list[str], folder: str | None, files: dict[str, str], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        task_inputs(tasks, folder, files)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("title: [", "own.yaml:1: bad YAML: "),
        ("title: A\ntitle: B", "own.yaml: title is given twice; remove one"),
        ("title: A\nrows: 0100", "own.yaml: 0100 begins with 0"),
        ("- a", "own.yaml: expected keys and values"),
        ("grader: math", "own.yaml: title: Field required"),
        ("title: A\ngrader: poetry", "own.yaml: grader: Input should be 'math'"),
        ("title: A\nrow: 3", "own.yaml: row: Extra inputs are not permitted"),
    ],
)
def test_a_yaml_file_that_is_no_task(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(content)
    with pytest.raises(ConfigError, match=message):
        read_spec(path)


def test_no_task_at_all() -> None:
    with pytest.raises(ConfigError, match="nothing to evaluate on; name at least one task"):
        read_tasks({"model": "x"})
