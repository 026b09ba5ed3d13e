"""Records from files of all kinds: all of them, each with its row, in bounded memory."""

from __future__ import annotations

import json
import random
import tracemalloc
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from row_files import write_rows

from wmss_cli.core.errors import ConfigError, DataError
from wmss_cli.data.sources import Record, check_records, data_inputs, read_records


def record(question: str = "2 + 2?", **info: Any) -> dict[str, Any]:
    """Return a record in the AM format."""
    user_info = {"source": "sums", "reference_answer": "4", "test_case": None} | info
    return {
        "messages": [
            {"role": "user", "content": question, "info": user_info},
            {"role": "assistant", "content": "<think>…</think> <answer>4</answer>"},
        ]
    }


def write_jsonl(path: Path, rows: Iterable[Any]) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def write_zst(path: Path, rows: Iterable[Any]) -> Path:
    """Write one frame for each row, as tools that compress in parallel do."""
    frames = [zstandard.compress(json.dumps(row).encode() + b"\n") for row in rows]
    path.write_bytes(b"".join(frames))
    return path


def write_parquet(path: Path, rows: Iterable[Any]) -> Path:
    pq.write_table(pa.Table.from_pylist(list(rows)), path, row_group_size=3)
    return path


WRITERS = {".jsonl": write_jsonl, ".jsonl.zst": write_zst, ".parquet": write_parquet}


@pytest.mark.parametrize("ending", WRITERS)
def test_reads_all_fields_of_every_record(tmp_path: Path, ending: str) -> None:
    tests = {"test_code": "assert f() == 1", "test_entry_point": "f"}
    rows = [
        record("2 + 2?"),
        record("Write f.", reference_answer=None, test_case=tests),
        *[record(f"question {i}") for i in range(200)],
    ]
    path = WRITERS[ending](tmp_path / f"data{ending}", rows)
    records = list(read_records([path]))
    assert [r.row for r in records] == list(range(1, 203))
    assert records[0] == Record(
        file=str(path),
        row=1,
        source="sums",
        prompt="2 + 2?",
        completion="<think>…</think> <answer>4</answer>",
        reference_answer="4",
    )
    assert (records[1].reference_answer, records[1].test_case) == (None, tests)
    assert records[-1].prompt == "question 199"


def test_real_records_are_the_same_from_every_kind_of_file(
    tmp_path: Path, shared_data: Path
) -> None:
    source = shared_data / "am_synth.jsonl"
    rows = [json.loads(line) for line in source.read_text(encoding="utf-8").splitlines()]
    paths = [write(tmp_path / f"data{ending}", rows) for ending, write in WRITERS.items()]
    expected = list(read_records([source]))
    assert len(expected) == len(rows)
    assert {r.problem for r in expected} == {None}
    for path in paths:
        assert [replace(r, file=str(source)) for r in read_records([path])] == expected


def test_files_follow_one_another_up_to_the_limit(tmp_path: Path) -> None:
    first = write_jsonl(tmp_path / "a.jsonl", [record(f"a{i}") for i in range(3)])
    second = write_jsonl(tmp_path / "b.jsonl", [record(f"b{i}") for i in range(3)])
    prompts = [r.prompt for r in read_records([first, second], limit=5)]
    assert prompts == ["a0", "a1", "a2", "b0", "b1"]


@pytest.mark.parametrize("ending", WRITERS)
@pytest.mark.parametrize("limit", [None, 40])
def test_shards_share_the_records_among_them(
    tmp_path: Path, ending: str, limit: int | None
) -> None:
    write = WRITERS[ending]
    paths = [
        write(tmp_path / f"{name}{ending}", [record(f"{name}{i}") for i in range(25)])
        for name in "ab"
    ]
    whole = list(read_records(paths, limit))
    assert [one.place for one in whole] == list(range(len(whole)))
    for shard in range(3):
        assert list(read_records(paths, limit, shard, 3)) == whole[shard::3]


def test_a_broken_line_is_told_by_its_own_shard_only(tmp_path: Path) -> None:
    good = json.dumps(record()).encode()
    path = tmp_path / "data.jsonl"
    path.write_bytes(b"\n".join([good, b"", b"{not json}", good]))
    assert [one.row for one in read_records([path], shard=0, shards=2)] == [1, 4]
    (broken,) = read_records([path], shard=1, shards=2)
    assert (broken.row, broken.place) == (3, 1)
    assert broken.problem is not None


BROKEN_LINES = [
    (b"{not json}", "not JSON: Expecting property name"),
    (b'{"messages": [', "not JSON"),
    (b'{"messages": "\xff"}', "not UTF-8 at byte 15 of the line"),
    (b"[" * 100_000, "not JSON that can be read"),
    (b"17", "no object of messages, or of prompt and completion: 17"),
    (b"{}", "neither messages nor prompt and completion among its keys (none)"),
    (b'{"messages": [1, 2]}', "a message is not an object"),
    (b'{"messages": []}', "expected the roles user, assistant; found none"),
]


@pytest.mark.parametrize(("line", "problem"), BROKEN_LINES)
def test_a_broken_line_is_known_by_its_number(tmp_path: Path, line: bytes, problem: str) -> None:
    good = json.dumps(record()).encode()
    path = tmp_path / "data.jsonl"
    path.write_bytes(b"\n".join([good, b"", line, good]))
    first, broken, last = read_records([path])
    assert (broken.file, broken.row) == (str(path), 3)
    assert broken.problem is not None
    assert broken.problem.startswith(problem)
    assert broken.line == line
    assert (first.row, first.problem, first.line) == (1, None, None)
    assert (last.row, last.problem) == (4, None)


def _change(path: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def apply(row: dict[str, Any]) -> None:
        *parents, last = path.split(".")
        for name in parents:
            row = row[int(name) if name.isdigit() else name]
        row[last] = value

    return apply


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (_change("messages.0.role", "system"), "expected the roles user, assistant; found system"),
        (_change("messages.0.content", None), "the user's content is not a text"),
        (_change("messages.1.content", " "), "the assistant's content is empty"),
        (_change("messages.1.content", "\ud83d"), "the assistant's content contains half of"),
        (_change("messages.0.info", [1]), "the user's info is not an object"),
        (
            lambda row: row["messages"][0]["info"].update(test_case="assert", reference_answer=""),
            "info.test_case is not an object: 'assert'",
        ),
        (_change("messages.0.info.reference_answer", [4]), "info.reference_answer is not a text"),
        (
            lambda row: row["messages"].extend(row["messages"]),
            "expected the roles user, assistant; found user, assistant, user, assistant",
        ),
    ],
)
def test_says_why_a_record_is_no_record(
    tmp_path: Path, change: Callable[[dict[str, Any]], None], problem: str
) -> None:
    row = record()
    change(row)
    (broken,) = read_records([write_jsonl(tmp_path / "data.jsonl", [row])])
    assert broken.problem is not None
    assert broken.problem.startswith(problem)


def test_what_json_separates_by_is_only_the_line_feed(tmp_path: Path) -> None:
    rows = [record("carriage return \r, line separator \u2028, next line \x85"), record("b")]
    path = tmp_path / "data.jsonl"
    lines = [json.dumps(row, ensure_ascii=False).encode() for row in rows]
    path.write_bytes(b"\r\n".join(lines))
    assert [(r.row, r.prompt) for r in read_records([path])] == [
        (1, rows[0]["messages"][0]["content"]),
        (2, "b"),
    ]


def test_numbers_are_references_and_blanks_are_none(tmp_path: Path) -> None:
    answers = [18, 2.5, "18", " ", "", None]
    path = write_jsonl(tmp_path / "data.jsonl", [record(reference_answer=a) for a in answers])
    references = [r.reference_answer for r in read_records([path])]
    assert references == ["18", "2.5", "18", None, None, None]


def test_a_missing_file_is_an_error_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.jsonl: no such file"):
        read_records([tmp_path / "nowhere.jsonl"])


def test_a_file_is_given_once(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "data.jsonl", [record()])
    with pytest.raises(ConfigError, match="given twice"):
        read_records([path, path])


def test_an_unknown_ending_names_the_good_ones(tmp_path: Path) -> None:
    for name in ("data.txt", "data", "data.tar.gz", "data.parquet.gz", "data.zst", "data.pkl"):
        path = tmp_path / name
        path.touch()
        with pytest.raises(ConfigError, match=rf"{name}: unknown kind of file; use \.jsonl, \.nd"):
            read_records([path])


def test_a_download_that_was_cut_off_is_an_error(tmp_path: Path) -> None:
    rows = [record(f"question {i}") for i in range(1000)]
    whole = zstandard.compress(b"".join(json.dumps(row).encode() + b"\n" for row in rows))
    path = tmp_path / "data.jsonl.zst"
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(
        DataError, match=r"data\.jsonl\.zst: damaged after row \d+ \(the file is cut"
    ):
        list(read_records([path]))


def test_a_parquet_file_that_is_none_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "data.parquet"
    path.write_text("no Parquet")
    with pytest.raises(DataError, match=r"data\.parquet: damaged after row 0"):
        list(read_records([path]))


def test_a_parquet_file_without_messages_says_what_it_has(tmp_path: Path) -> None:
    path = tmp_path / "data.parquet"
    pq.write_table(pa.table({"question": ["2 + 2?"]}), path)
    with pytest.raises(
        DataError, match=r"neither messages nor prompt and completion .* columns \(question\)"
    ):
        list(read_records([path]))


def test_an_empty_file_has_no_records(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    path.touch()
    assert list(read_records([path])) == []


def peak_memory(path: Path) -> int:
    """Return the most memory, in bytes, that is held while a file is read."""
    before = pa.total_allocated_bytes()
    tracemalloc.start()
    try:
        peak_arrow = max(pa.total_allocated_bytes() for _ in read_records([path])) - before
        return peak_arrow + tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.slow
@pytest.mark.parametrize("ending", WRITERS)
def test_memory_does_not_grow_with_the_file(tmp_path: Path, ending: str) -> None:
    # Random letters, so that no file is small by compression; Parquet gets one large row group.
    letters = random.Random(0)
    rows = [record(letters.randbytes(5_000).hex()) for _ in range(4_000)]
    peaks = []
    for count in (1_000, 4_000):
        path = tmp_path / f"{count}{ending}"
        if ending == ".parquet":
            pq.write_table(pa.Table.from_pylist(rows[:count]), path, use_dictionary=False)
        else:
            WRITERS[ending](path, rows[:count])
        peaks.append(peak_memory(path))
    assert peaks[1] < 1.2 * peaks[0]
    assert peaks[1] < 0.5 * sum(len(json.dumps(row)) for row in rows)


def test_plain_prompts_and_completions(tmp_path: Path) -> None:
    rows = [{"prompt": "2 + 2?", "completion": "4", "reference_answer": 4, "source": "sums"}]
    lines, table = tmp_path / "data.jsonl", tmp_path / "data.parquet"
    lines.write_text("".join(json.dumps(row) + "\n" for row in rows))
    pq.write_table(pa.Table.from_pylist(rows), table)
    for path in (lines, table):
        assert list(read_records([path])) == [
            Record(str(path), 1, 0, "sums", "2 + 2?", "4", reference_answer="4")
        ]


TESTS = {"test_code": "assert f() == 1", "test_entry_point": "f"}
TURNS = [{"from": "human", "value": "2 + 2?"}, {"from": "gpt", "value": "4"}]
CHAT = [{"role": "user", "content": "2 + 2?"}, {"role": "assistant", "content": "4"}]


@pytest.mark.parametrize(
    "row",
    [
        {"conversations": TURNS},
        {"conversation": CHAT},
        {"messages": TURNS},
        {"messages": json.dumps(CHAT)},
        {"messages": [{**one, "role": one["role"].upper()} for one in CHAT]},
        {
            "messages": [
                {**one, "content": [{"type": "text", "text": one["content"]}]} for one in CHAT
            ]
        },
        {"prompt": CHAT[:1], "completion": CHAT[1:]},
        {"prompt": "2 + 2?", "completion": "4", "messages": None},
    ],
)
@pytest.mark.parametrize("ending", [".jsonl", ".parquet", ".arrow", ".json.gz"])
def test_one_question_and_one_answer_in_the_forms_of_other_tools(
    tmp_path: Path, row: dict[str, Any], ending: str
) -> None:
    beside = {"source": "sums", "reference_answer": "4", "test_case": TESTS}
    path = write_rows(tmp_path / f"data{ending}", [row | beside])
    (found,) = read_records([path])
    assert found == Record(str(path), 1, 0, "sums", "2 + 2?", "4", "4", TESTS)


def test_records_in_a_spreadsheet(tmp_path: Path) -> None:
    rows = [
        {"prompt": "a?", "completion": "b\nc", "reference_answer": "007", "test_case": ""},
        {"prompt": "a?", "completion": "None", "reference_answer": "NA", "test_case": TESTS},
    ]
    for name in ("data.csv", "data.tsv", "data.csv.gz"):
        first, second = read_records([write_rows(tmp_path / name, rows)])
        assert (first.completion, first.reference_answer, first.test_case) == ("b\nc", "007", None)
        assert (second.completion, second.reference_answer) == ("None", "NA")
        assert second.test_case == TESTS


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        *((TESTS, TESTS), (json.dumps(TESTS), TESTS)),
        *((nothing, None) for nothing in (None, "", " ", "null", [], {}, "{}", "[]")),
    ],
)
def test_tests_in_every_form(tmp_path: Path, written: Any, meant: Any) -> None:
    for reference in (None, "4"):
        row = record(test_case=written, reference_answer=reference)
        (found,) = read_records([write_jsonl(tmp_path / "data.jsonl", [row])])
        assert (found.problem, found.test_case) == (None, meant)


@pytest.mark.parametrize("written", ["assert f()", 3, [1], "[1]"])
def test_tests_that_cannot_be_read_matter_only_without_a_reference(
    tmp_path: Path, written: Any
) -> None:
    path = write_jsonl(
        tmp_path / "data.jsonl",
        [record(test_case=written), record(test_case=written, reference_answer=None)],
    )
    first, second = read_records([path])
    assert (first.problem, first.reference_answer, first.test_case) == (None, "4", None)
    assert second.problem is not None
    assert second.problem.startswith("test_case is not an object") or "info.test_case" in (
        second.problem
    )


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ({"messages": [{"role": "system", "content": "Hi."}, *CHAT]}, "wmss writes its own system"),
        ({"conversations": TURNS * 2}, "split several turns into records with one question and"),
        ({"instruction": "a", "input": "", "output": "b"}, "rename instruction, followed by input"),
        ({"question": "a", "answer": "b"}, "rename question to prompt, and what the model"),
        (
            {"problem": "a", "solution": "b", "answer": "c"},
            "rename problem to prompt, solution to completion",
        ),
        ({"prompt": "a", "response": "b"}, "rename response to completion"),
        ({"text": "a"}, "neither messages nor prompt and completion among its keys (text)"),
        ({"prompt": "a", "completion": 3}, "completion is not a text: 3"),
        ({"prompt": "a", "completion": "b", "reference_answer": True}, "reference_answer is not a"),
        ({"messages": "Hi."}, "messages is not a list: 'Hi.'"),
    ],
)
def test_what_is_no_record_says_what_it_is(
    tmp_path: Path, row: dict[str, Any], problem: str
) -> None:
    path = write_jsonl(tmp_path / "data.jsonl", [row])
    (found,) = read_records([path])
    assert found.problem is not None
    assert problem in found.problem
    with pytest.raises(
        ConfigError, match=r"data.jsonl: no records among its first rows \(1 tried\)"
    ):
        check_records([path])


def test_a_reference_that_pandas_wrote_as_missing_is_none(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    path.write_text('{"prompt": "a", "completion": "b", "reference_answer": NaN}\n')
    (found,) = read_records([path])
    assert (found.problem, found.reference_answer) == (None, None)
    table = pa.table({"prompt": ["a"], "completion": ["b"], "reference_answer": [float("nan")]})
    pq.write_table(table, tmp_path / "data.parquet")
    (found,) = read_records([tmp_path / "data.parquet"])
    assert (found.problem, found.reference_answer) == (None, None)


def test_what_no_job_could_read_is_refused_before_one_is_sent(tmp_path: Path) -> None:
    good = write_jsonl(tmp_path / "good.jsonl", ["no record", record()])
    check_records([good])
    empty = tmp_path / "empty.jsonl"
    empty.write_text("\n\n")
    cut = tmp_path / "cut.parquet"
    cut.write_bytes(write_parquet(tmp_path / "whole.parquet", [record()]).read_bytes()[:-9])
    table = write_rows(tmp_path / "table.csv", [{"question": "a", "answer": "b"}])
    for path, problem in (
        (empty, "no records; check that this is the right file"),
        (cut, "damaged after row 0"),
        (table, "neither messages nor prompt and completion among its columns (question, answer)"),
        (tmp_path / "nowhere.jsonl", "no such file"),
    ):
        with pytest.raises(ConfigError) as caught:
            check_records([good, path])
        assert str(caught.value).startswith(f"{path}: {problem}")
        with pytest.raises(ConfigError):
            data_inputs([str(good), str(path)])


def test_inputs_by_role(tmp_path: Path) -> None:
    for name in ("b", "a"):
        write_jsonl(tmp_path / "set" / f"{name}.jsonl", [record()])
    one = write_jsonl(tmp_path / "one.jsonl", [record()])
    found = data_inputs([str(one), str(tmp_path / "set")])
    assert {role: Path(path).name for role, path in found.items()} == {
        "data-0000": "one.jsonl",
        "data-0001": "a.jsonl",
        "data-0002": "b.jsonl",
    }
    with pytest.raises(ConfigError, match="given twice; name each file once"):
        data_inputs([str(tmp_path / "set"), str(tmp_path / "set/a.jsonl")])
    # A plan may be made before the data are here.
    later = data_inputs(["later.jsonl", "owner/later"], provisional=True)
    assert list(later.values()) == ["later.jsonl", "owner/later"]
