"""Rows of tasks as the questions that a model is asked."""

from __future__ import annotations

from pathlib import Path

import pytest
from row_files import write_rows

from wmss_cli.core.errors import ConfigError
from wmss_cli.evaluate.problems import Problem, read_problems
from wmss_cli.evaluate.tasks import Task, read_spec, shipped

GOOD = '{"id": "a", "question": "1+1?", "answer": "2"}\n'
SUMS = Task(name="sums", title="Sums")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "sums.jsonl"


def test_reads_rows_in_order_and_skips_blank_lines(file: Path) -> None:
    file.write_text(GOOD + '\n{"id": "b", "question": "½+½?", "answer": "1", "level": 3}')
    first, second = read_problems(SUMS, file)
    row = {"id": "a", "question": "1+1?", "answer": "2"}
    assert first == Problem("sums", "a", "1+1?", "2", row)
    assert (second.question, second.row["level"]) == ("½+½?", "3")


@pytest.mark.parametrize("written", ["27", "27.0", "-3", "1e-7", "123456789012345678901234567890"])
def test_a_number_stays_as_it_is_written(file: Path, written: str) -> None:
    file.write_text(f'{{"id": 7, "question": "?", "answer": {written}}}\n')
    (problem,) = read_problems(SUMS, file)
    assert (problem.id, problem.answer) == ("7", written)


def test_a_line_separator_inside_a_text_does_not_end_the_row(file: Path) -> None:
    file.write_text(GOOD.replace("1+1?", "1\u20281"), encoding="utf-8")
    assert read_problems(SUMS, file)[0].question == "1\u20281"


def test_the_limit_takes_the_first_rows(file: Path) -> None:
    file.write_text(GOOD + GOOD.replace('"a"', '"b"') + GOOD.replace('"a"', '"c"'))
    assert [problem.id for problem in read_problems(SUMS, file, 2)] == ["a", "b"]


def test_a_box_is_asked_for_where_that_is_wanted(file: Path) -> None:
    file.write_text(GOOD)
    (problem,) = read_problems(SUMS, file, style="boxed")
    assert problem.question.startswith("1+1?\nPlease reason step by step")
    assert "\\boxed{}" in problem.question


def test_options_are_lettered_alike_whatever_the_file_writes(file: Path) -> None:
    file.write_text('{"id": "a", "question": "?", "options": ["A)1", "(B) 2", "3"], "answer": "C"}')
    (problem,) = read_problems(Task(name="t", title="T", grader="choice"), file)
    assert problem.question == "?\nAnswer Choices: (A) 1 (B) 2 (C) 3"
    assert problem.answer == "C"


def test_a_program_is_asked_for_with_its_tests(file: Path) -> None:
    file.write_text('{"id": "a", "prompt": "Add.", "test_list": ["assert add(1, 2) == 3"]}')
    (problem,) = read_problems(Task(name="t", title="T", grader="mbpp"), file)
    assert problem.question.endswith("```python\nassert add(1, 2) == 3\n```")


def test_only_the_rows_of_the_split_count(file: Path) -> None:
    rows = [GOOD[:-2] + f', "split": "{split}"}}\n' for split in ("train", "test")]
    file.write_text(rows[0] + rows[1].replace('"a"', '"b"'))
    task = SUMS.model_copy(update={"where": {"split": "test"}})
    assert [problem.id for problem in read_problems(task, file)] == ["b"]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (GOOD + GOOD[:20], "sums.jsonl:2: not JSON"),
        (GOOD + "[" * 100_000, "sums.jsonl:2: not JSON that can be read: nested too deeply"),
        (GOOD + '{"id": "\\ud83d"}', "sums.jsonl:2: half of a surrogate pair"),
        (GOOD + "[]", "sums.jsonl:2: not a JSON object"),
        ('{"id": "a", "question": "?"}', "sums.jsonl:1: no 'answer'; a row needs id"),
        ('{"id": "a", "question": "?", "answer": null}', "sums.jsonl:1: 'answer' must be text"),
        ('{"id": "a", "question": "?", "answer": true}', "'answer' must be text or a number"),
        ('{"id": "a", "question": " ", "answer": "2"}', "'question' must be .* not empty"),
        (GOOD + GOOD, "sums.jsonl:2: the id 'a' is given twice"),
        ("\n", "sums.jsonl: no rows; task sums needs"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(file: Path, rows: str, message: str) -> None:
    file.write_text(rows)
    with pytest.raises(ConfigError, match=message) as caught:
        read_problems(SUMS, file)
    assert "\n" not in str(caught.value)


def test_a_letter_that_no_option_has(file: Path) -> None:
    file.write_text('{"id": "a", "question": "?", "options": ["1", "2"], "answer": "C"}')
    with pytest.raises(ConfigError, match="the letter of one of the options"):
        read_problems(Task(name="t", title="T", grader="choice"), file)


def test_a_file_that_is_cut_off_is_not_taken_for_the_benchmark(file: Path) -> None:
    file.write_text(GOOD)
    task = SUMS.model_copy(update={"rows": 2})
    with pytest.raises(ConfigError, match="1 problems, but Sums has 2; 'wmss data fetch sums'"):
        read_problems(task, file)
    assert len(read_problems(task, file, limit=1)) == 1


def test_a_file_that_is_no_text_file(file: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no such evaluation file; check task sums"):
        read_problems(SUMS, file)
    with pytest.raises(ConfigError, match="this is a folder"):
        read_problems(SUMS, tmp_path)
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match=r"damaged after row 0 \(not utf-16-le text"):
        read_problems(SUMS, file)
    file.write_bytes(GOOD.encode() + b'{"id": "\xff"}')
    with pytest.raises(ConfigError, match=r"sums.jsonl:2: not UTF-8 at byte 9 of the line"):
        read_problems(SUMS, file)


@pytest.mark.parametrize("ending", [".jsonl", ".json", ".csv", ".parquet", ".JSONL.GZ", ".arrow"])
def test_problems_are_read_from_every_kind_of_file(tmp_path: Path, ending: str) -> None:
    rows = [{"id": 1, "question": "½?", "answer": 27.5}, {"id": 2, "question": "2?", "answer": 1.0}]
    path = write_rows(tmp_path / f"sums{ending}", rows)
    found = [(one.id, one.question, one.answer) for one in read_problems(SUMS, path)]
    assert found == [("1", "½?", "27.5"), ("2", "2?", "1.0")]


def test_a_table_has_its_lists_as_json(tmp_path: Path) -> None:
    row = {"id": "a", "question": "?", "options": '["1", "2"]', "answer": "B"}
    path = write_rows(tmp_path / "t.csv", [row])
    (problem,) = read_problems(Task(name="t", title="T", grader="choice"), path)
    assert problem.question == "?\nAnswer Choices: (A) 1 (B) 2"
    assert problem.row["options"] == ["1", "2"], "as the grader reads it"
    row = {"id": "a", "prompt": "?", "test_list": '["assert f()"]', "test_imports": '["import os"]'}
    path = write_rows(tmp_path / "m.csv", [row])
    (problem,) = read_problems(Task(name="m", title="M", grader="mbpp"), path)
    assert (problem.row["test_list"], problem.row["test_imports"]) == (
        ["assert f()"],
        ["import os"],
    )
    path = write_rows(tmp_path / "b.csv", [row | {"test_imports": '["import os"'}])
    with pytest.raises(ConfigError, match=r"b.csv:1: 'test_imports': not JSON: .*; fix or remove"):
        read_problems(Task(name="m", title="M", grader="mbpp"), path)


@pytest.mark.parametrize("name", shipped())
def test_reads_the_public_benchmarks(shared_data: Path, name: str) -> None:
    task = read_spec(shipped()[name])
    problems = read_problems(task, shared_data / f"{name}.jsonl")
    assert len(problems) == task.rows
    assert all(problem.question and problem.answer for problem in problems)
