"""What published files look like, and the rows that come of them."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from wmss_cli.core.errors import DataError
from wmss_cli.evaluate.published import as_row, read_published
from wmss_cli.evaluate.tasks import Format

EXAMPLES: list[tuple[Format, dict[str, Any], dict[str, Any]]] = [
    (
        "plain",
        {"question": "1 + 1?", "answer": 2.0, "output": "I think 3"},
        {"id": "t/4", "question": "1 + 1?", "answer": "2"},
    ),
    (
        "plain",
        {"problem": "Half of 3?", "answer": "1.5"},
        {"id": "t/4", "question": "Half of 3?", "answer": "1.5"},
    ),
    (
        "gsm8k",
        {"question": "How many?", "answer": "It is 2*1000=<<2*1000=2000>>2000.\n#### 2,000"},
        {"id": "t/4", "question": "How many?", "answer": "2000"},
    ),
    (
        "math",
        {"problem": "x?", "answer": "\\frac{1}{2}", "unique_id": "test/algebra/1.json"},
        {"id": "test/algebra/1.json", "question": "x?", "answer": "\\frac{1}{2}"},
    ),
    (
        "aqua",
        {"question": "x?", "options": ["A)1", "B)2"], "correct": "B", "rationale": "So."},
        {"id": "t/4", "question": "x?", "options": ["A)1", "B)2"], "answer": "B"},
    ),
    (
        "svamp",
        {"ID": "chal-7", "Body": "Tom has 3 pens", "Question": "How many?", "Answer": 3.0},
        {"id": "svamp/chal-7", "question": "Tom has 3 pens. How many?", "answer": "3"},
    ),
    (
        "svamp",
        {"ID": "chal-8", "Body": "Tom has 3 pens. ", "Question": " How many?", "Answer": "3.0"},
        {"id": "svamp/chal-8", "question": "Tom has 3 pens. How many?", "answer": "3"},
    ),
    (
        "pal",
        {"input": "How many?", "target": 11.5},
        {"id": "t/4", "question": "How many?", "answer": "11.5"},
    ),
    (
        "humaneval",
        {
            "task_id": "HumanEval/0",
            "prompt": "def f():",
            "canonical_solution": "    return 1",
            "test": "def check(c): assert c() == 1",
            "entry_point": "f",
        },
        {
            "id": "HumanEval/0",
            "prompt": "def f():",
            "entry_point": "f",
            "test": "def check(c): assert c() == 1",
        },
    ),
    (
        "mbpp",
        {
            "task_id": 510,
            "text": "Write one.",
            "code": "def f(): return 1",
            "test_list": ["assert f() == 1"],
            "test_setup_code": "",
            "challenge_test_list": [],
        },
        {
            "id": "mbpp/510",
            "split": "test",
            "prompt": "Write one.",
            "test_list": ["assert f() == 1"],
            "test_setup_code": "",
            "test_imports": [],
        },
    ),
    (
        "mbpp",
        {
            "source_file": "a.ipynb",
            "task_id": 511,
            "prompt": "Write one.",
            "code": "def f(): return 1",
            "test_imports": ["import math"],
            "test_list": ["assert f() == 1"],
        },
        {
            "id": "mbpp/511",
            "split": "validation",
            "prompt": "Write one.",
            "test_list": ["assert f() == 1"],
            "test_setup_code": "",
            "test_imports": ["import math"],
        },
    ),
]


@pytest.mark.parametrize(("form", "published", "row"), EXAMPLES)
def test_a_published_row_becomes_one_of_ours(
    form: Format, published: dict[str, Any], row: dict[str, Any]
) -> None:
    assert as_row(form, "t", 4, published) == row


def test_a_column_that_is_missing_is_named() -> None:
    with pytest.raises(DataError, match=r"row 5: not as gsm8k was published .KeyError: 'answer'"):
        as_row("gsm8k", "gsm8k", 4, {"question": "x?"})


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.json", "a.parquet"])
def test_files_of_all_kinds_say_the_same(tmp_path: Path, name: str) -> None:
    rows = [{"question": "ü?", "answer": "1"}, {"question": "y?", "answer": "2"}]
    path = tmp_path / name
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    if name.endswith(".parquet"):
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif name.endswith(".gz"):
        path.write_bytes(gzip.compress(lines.encode()))
    else:
        path.write_text(json.dumps(rows) if name.endswith(".json") else lines)
    assert list(read_published(path)) == rows


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.json", "a.parquet"])
def test_a_file_that_is_cut_off_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(gzip.compress(b'{"a": 1}\n' * 100)[:30] if "gz" in name else b'[{"a"')
    with pytest.raises(DataError, match=f"{name}: damaged after row 0"):
        list(read_published(path))
