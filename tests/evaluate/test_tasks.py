from __future__ import annotations

from pathlib import Path

import pytest

from wmss_cli.core.errors import ConfigError
from wmss_cli.evaluate.tasks import Problem, read_task

GOOD = '{"id": "a", "question": "1+1?", "answer": "2"}\n'


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "sums.jsonl"


def test_reads_rows_in_order_and_ignores_other_keys_and_blank_lines(file: Path) -> None:
    file.write_text(GOOD + '\n{"id": "b", "question": "½+½?", "answer": "1", "level": 3}')
    assert read_task("sums", file, None) == [
        Problem("sums", "a", "1+1?", "2"),
        Problem("sums", "b", "½+½?", "1"),
    ]


@pytest.mark.parametrize("written", ["27", "27.0", "-3", "1e-7", "123456789012345678901234567890"])
def test_a_number_stays_as_it_is_written(file: Path, written: str) -> None:
    file.write_text(f'{{"id": 7, "question": "?", "answer": {written}}}\n')
    assert read_task("sums", file, None) == [Problem("sums", "7", "?", written)]


def test_a_line_separator_inside_a_text_does_not_end_the_row(file: Path) -> None:
    file.write_text(GOOD.replace("1+1?", "1\u20281"), encoding="utf-8")
    assert read_task("sums", file, None)[0].question == "1\u20281"


def test_the_limit_takes_the_first_rows_and_reads_no_further(file: Path) -> None:
    file.write_text(GOOD + GOOD.replace('"a"', '"b"') + "broken\n")
    assert [problem.id for problem in read_task("sums", file, 2)] == ["a", "b"]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (GOOD + GOOD[:20], "sums.jsonl:2: not JSON"),
        (GOOD + "[]", "sums.jsonl:2: not a JSON object"),
        ('{"id": "a", "question": "?"}', "sums.jsonl:1: no 'answer'; a row needs id"),
        ('{"id": "a", "question": "?", "answer": null}', "sums.jsonl:1: 'answer' has to be text"),
        ('{"id": "a", "question": "?", "answer": true}', "'answer' has to be text or a number"),
        ('{"id": "a", "question": " ", "answer": "2"}', "'question' has to be .* not empty"),
        (GOOD + GOOD, "sums.jsonl:2: the id 'a' stands twice"),
        ("\n", "sums.jsonl: no rows; eval_files.sums needs"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(file: Path, rows: str, message: str) -> None:
    file.write_text(rows)
    with pytest.raises(ConfigError, match=message) as caught:
        read_task("sums", file, None)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_text_file(file: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no such evaluation file; check eval_files.sums"):
        read_task("sums", file, None)
    with pytest.raises(ConfigError, match="this is a folder"):
        read_task("sums", tmp_path, None)
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="not UTF-8"):
        read_task("sums", file, None)


@pytest.mark.parametrize(
    ("name", "rows"),
    [("gsm8k", 1319), ("math500", 500), ("amc23", 40), ("aime2025", 30), ("svamp", 1000)],
)
def test_reads_the_public_benchmarks(shared_data: Path, name: str, rows: int) -> None:
    problems = read_task(name, shared_data / f"{name}.jsonl", None)
    assert len(problems) == rows
    assert all(problem.task == name for problem in problems)
