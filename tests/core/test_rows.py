"""Rows of files as people have them: all of them as they are, or one line that says what to do."""

from __future__ import annotations

import gzip
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pytest
import zstandard
from row_files import PACKERS, text_of, write_rows

from wmss_cli.core.errors import ConfigError, DataError
from wmss_cli.core.rows import NOT_WANTED, Broken, column_names, read_rows, stem

ROWS = [
    {"id": "007", "answer": "None", "text": 'a, "b"\n\u2028 ü 数 \U0001f600 \x85; \'\t'},
    {"id": "1e5", "answer": "", "text": "NA"},
    *({"id": str(i), "answer": f"{i}.0", "text": "x" * i} for i in range(40)),
]
"""Texts that readers of tables like to make something else of."""

PLAIN = (".jsonl", ".ndjson", ".json", ".csv", ".tsv")
ENDINGS = (*PLAIN, ".parquet", ".arrow", *map("".join, itertools.product(PLAIN, PACKERS)))


def values(path: Path, **options: Any) -> list[Any]:
    return [row.value for row in read_rows(path, **options)]


def damaged(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        values(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message.removeprefix(f"{path}: ")


@pytest.mark.parametrize("ending", [*ENDINGS, ".JSONL", ".Json.GZ", ".PARQUET", ".Csv"])
def test_every_kind_of_file_says_the_same(tmp_path: Path, ending: str) -> None:
    path = write_rows(tmp_path / f"a.b{ending}", ROWS)
    found = list(read_rows(path))
    assert [row.value for row in found] == ROWS
    assert [row.number for row in found] == list(range(1, len(ROWS) + 1))
    assert stem(path) == "a.b"


@pytest.mark.parametrize("ending", ENDINGS)
def test_some_rows_of_every_kind_of_file(tmp_path: Path, ending: str) -> None:
    path = write_rows(tmp_path / f"a{ending}", ROWS)
    turns = itertools.cycle([False, True, False])
    found = values(path, wanted=turns)
    assert found[1::3] == ROWS[1::3]
    assert set(map(id, (*found[0::3], *found[2::3]))) == {id(NOT_WANTED)}


ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32")


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("ending", [".jsonl", ".json", ".csv", ".jsonl.gz"])
def test_however_a_text_was_saved(tmp_path: Path, encoding: str, end: str, ending: str) -> None:
    rows = [{"a": "ü\u2028 x", "b": "数"}, {"a": "2", "b": "3"}]
    text = text_of(ending.removesuffix(".gz"), rows).replace("\r\n", "\n").replace("\n", end)
    data = text.encode(encoding)
    path = tmp_path / f"a{ending}"
    path.write_bytes(gzip.compress(data) if ending.endswith(".gz") else data)
    assert values(path) == rows


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.jsonl.zst", "a.jsonl.bz2"])
@pytest.mark.parametrize("packed", ["", *PACKERS])
def test_how_a_file_is_packed_is_seen_from_its_content(
    tmp_path: Path, name: str, packed: str
) -> None:
    data = b'{"a": 1}\n{"a": 2}\n'
    (tmp_path / name).write_bytes(PACKERS[packed](data) if packed else data)
    assert values(tmp_path / name) == [{"a": 1}, {"a": 2}]


@pytest.mark.parametrize("ending", PACKERS)
def test_pieces_that_were_packed_one_by_one(tmp_path: Path, ending: str) -> None:
    lines = [json.dumps(row).encode() + b"\n" for row in ROWS]
    path = tmp_path / f"a.jsonl{ending}"
    path.write_bytes(b"".join(map(PACKERS[ending], lines)))
    assert values(path) == ROWS


def test_zstd_with_a_long_window_and_frames_that_are_skipped(tmp_path: Path) -> None:
    lines = "".join(json.dumps(row) + "\n" for row in ROWS).encode()
    long = zstandard.ZstdCompressionParameters(window_log=31, enable_ldm=True)
    packer = zstandard.ZstdCompressor(compression_params=long).compressobj()
    skipped = b"\x50\x2a\x4d\x18\x04\x00\x00\x00abcd"
    path = tmp_path / "a.jsonl.zst"
    path.write_bytes(skipped + packer.compress(lines) + packer.flush() + skipped)
    assert values(path) == ROWS


@pytest.mark.parametrize("ending", [".jsonl", ".json", ".csv", ".parquet", ".arrow"])
@pytest.mark.parametrize("packed", ["", *PACKERS])
@pytest.mark.parametrize("share", [0.2, 0.5, 0.9, 0.999])
def test_a_file_that_is_cut_off_is_never_taken_for_a_whole_one(
    tmp_path: Path, ending: str, packed: str, share: float
) -> None:
    if packed and ending not in PLAIN:
        return
    path = write_rows(tmp_path / f"a{ending}{packed}", ROWS)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    if packed or ending in (".json", ".parquet", ".arrow"):
        assert "damaged after row" in damaged(path)
    elif ending == ".jsonl":
        # Lines that are whole stay; at the cut is one that is not.
        found = values(path)
        assert found[:-1] == ROWS[: len(found) - 1]
        assert found[-1] == ROWS[len(found) - 1] or isinstance(found[-1], Broken)


@pytest.mark.parametrize("packed", PACKERS)
def test_a_flipped_byte_is_no_other_text(tmp_path: Path, packed: str) -> None:
    rows = [{"a": f"{i}-{i * i}"} for i in range(300)]
    path = write_rows(tmp_path / f"a.jsonl{packed}", rows)
    whole = path.read_bytes()
    for at in range(20, len(whole) - 10, max(1, len(whole) // 40)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x10]) + whole[at + 1 :])
        if packed == ".zst":
            # Without a checksum a frame may say something else; it does not end early.
            continue
        try:
            found = values(path)
        except DataError:
            continue
        assert found == rows


def test_json_over_several_lines(tmp_path: Path) -> None:
    objects = [{"a": i, "b": {"c": [i]}} for i in range(5)]
    forms = {
        "pretty.json": "\n".join(json.dumps(one, indent=2) for one in objects),
        "pretty.jsonl": "\n".join(json.dumps(one, indent=2) for one in objects),
        "lines.json": "".join(json.dumps(one) + "\n" for one in objects),
        "list.json": json.dumps(objects),
        "list.jsonl": json.dumps(objects, indent=1),
        "loose.json": " \n" + json.dumps(objects, indent=8) + "\n\n ",
        "packed.json": "".join(json.dumps(one) for one in objects),
    }
    for name, text in forms.items():
        (tmp_path / name).write_text(text)
        if name == "packed.json":
            # One line, which is no value: told as one.
            assert [type(value) for value in values(tmp_path / name)] == [Broken]
        else:
            assert values(tmp_path / name) == objects, name


@pytest.mark.parametrize("text", ['[{"a": 1},]', '[{"a": 1}', '[{"a": 1} {"a": 2}]', '[{"a": 1}]x'])
def test_a_list_that_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_text(text)
    assert damaged(tmp_path / "a.json").startswith("damaged after row")


def test_a_long_list_is_read_in_bounded_memory(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    rows = [{"a": "x" * 300_000, "i": i} for i in range(20)]
    path.write_text(json.dumps(rows, indent=1))
    rest: Iterator[Any] = read_rows(path)
    assert next(rest).value == rows[0]
    assert [row.value for row in rest] == rows[1:]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ('{"a": 1, "a": 2}', "the key 'a' is given twice"),
        ('{"b": {"a": 1, "a": 1}}', "the key 'a' is given twice"),
        ('{"a": Infinity}', "not JSON: Infinity is not a number"),
        ('{"a": -Infinity}', "not JSON: -Infinity is not a number"),
        ('{"a": 1}x', "not JSON: Extra data at column 9"),
        ("\x00\x00", "not JSON: Expecting value at column 1"),
        ('{"a": "\x00"}', "not JSON: Invalid control character"),
        ("[" * 100_000, "not JSON that can be read: nested too deeply"),
        ('{"a": ' + "1" * 5_000 + "}", "not JSON that can be read: Exceeds the limit"),
        ("{'a': 1}", "not JSON: Expecting property name"),
    ],
)
def test_a_row_that_cannot_be_read_is_reported_and_the_next_one_is_read(
    tmp_path: Path, line: str, problem: str
) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(f'{{"a": 0}}\n{line}\n\n{{"a": 1}}\n')
    first, broken, last = read_rows(path)
    assert (first.value, last.value, last.number) == ({"a": 0}, {"a": 1}, 4)
    assert isinstance(broken.value, Broken)
    assert broken.value.problem.startswith(problem)


def test_nan_is_how_pandas_writes_null(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"a": NaN}')
    assert values(tmp_path / "a.jsonl") == [{"a": None}]


def test_numbers_as_they_are_written(tmp_path: Path) -> None:
    text = '[{"a": 27.0, "b": [1e-7, -0, 1], "c": true, "d": null}]'
    for name in ("a.json", "a.jsonl"):
        (tmp_path / name).write_text(text)
        assert values(tmp_path / name, as_text=True) == [
            {"a": "27.0", "b": ["1e-7", "-0", "1"], "c": True, "d": None}
        ]
    path = write_rows(tmp_path / "a.parquet", [{"a": 27.0, "b": [1, 2], "c": True}])
    assert values(path, as_text=True) == [{"a": "27.0", "b": ["1", "2"], "c": True}]


def test_csv_as_spreadsheets_save_it(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('\ufeffa;b \r\n1,5;"x;\r\n""y"""\r\n\r\n2;3\r\n', encoding="utf-8", newline="")
    assert values(path) == [{"a": "1,5", "b": 'x;\r\n"y"'}, {"a": "2", "b": "3"}]
    assert column_names(path) == ["a", "b"]


def test_csv_that_is_none(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"a,b\n1,2\n1,2,3\n1\n\xff,2\n3,4\n")
    assert [one if isinstance(one, dict) else one.problem for one in values(path)] == [
        {"a": "1", "b": "2"},
        "3 fields, but the header has 2",
        "1 fields, but the header has 2",
        "not UTF-8",
        {"a": "3", "b": "4"},
    ]
    path.write_text('a,b\n1,"2\n3,4\n')
    assert damaged(path).startswith("damaged after row 0 (unexpected end of data)")
    path.write_text("a,a\n1,2\n")
    assert damaged(path) == "the column 'a' is given twice; rename one"


def test_long_fields_of_csv(tmp_path: Path) -> None:
    rows = [{"a": "x" * 300_000, "b": "1"}]
    assert values(write_rows(tmp_path / "a.csv", rows)) == rows


@pytest.mark.parametrize(
    ("start", "what"),
    [
        (
            b"version https://git-lfs.github.com/spec/v1\noid",
            "a git-lfs pointer, not the file; 'gi",
        ),
        (b"<!DOCTYPE html><html>", "this is a web page, not the file; download the file itself"),
        (b"PK\x03\x04....", "this is a zip archive or an Excel file; unpack it, or save it as CSV"),
        (b"PAR1....", "this is a Parquet file; its name has to end in .parquet"),
    ],
)
def test_a_file_that_is_something_else(tmp_path: Path, start: bytes, what: str) -> None:
    for name in ("a.jsonl", "a.json", "a.csv", "a.jsonl.gz"):
        (tmp_path / name).write_bytes(start)
        assert what in damaged(tmp_path / name)
    (tmp_path / "a.parquet").write_bytes(start)
    if b"git-lfs" in start:
        assert what in damaged(tmp_path / "a.parquet")


def test_what_can_be_seen_at_once(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    for name, problem in (
        ("nowhere.jsonl", "no such file; check the path"),
        ("folder", "this is a folder; name a file in it"),
    ):
        with pytest.raises(ConfigError, match=problem):
            read_rows(tmp_path / name)
    for name in ("a.txt", "a", "a.tar.gz", "a.parquet.gz", "a.zip", "a.xlsx", "jsonl"):
        (tmp_path / name).touch()
        with pytest.raises(ConfigError, match=r"unknown kind of file; use \.jsonl, \.ndjson"):
            read_rows(tmp_path / name)


@pytest.mark.parametrize("ending", [".jsonl", ".json", ".csv", ".jsonl.gz", ".jsonl.zst"])
def test_an_empty_file_has_no_rows(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"a{ending}"
    path.touch()
    assert values(path) == []


def test_a_folder_that_datasets_saved(tmp_path: Path) -> None:
    datasets.Dataset.from_list(ROWS).save_to_disk(tmp_path / "saved")
    assert values(tmp_path / "saved") == ROWS
    assert values(tmp_path / "saved", columns=["id"]) == [{"id": row["id"]} for row in ROWS]
    assert column_names(tmp_path / "saved") == list(ROWS[0])
    next((tmp_path / "saved").glob("*.arrow")).unlink()
    with pytest.raises((DataError, OSError)):
        values(tmp_path / "saved")


def test_a_saved_folder_with_a_file_that_is_cut_off(tmp_path: Path) -> None:
    datasets.Dataset.from_list(ROWS).save_to_disk(tmp_path / "saved")
    (file,) = (tmp_path / "saved").glob("*.arrow")
    # The last eight bytes say that nothing follows; without them the library would not miss any.
    file.write_bytes(file.read_bytes()[:-8])
    assert damaged(tmp_path / "saved").startswith("damaged after row 0 (the file is cut off)")


def test_both_formats_of_arrow(tmp_path: Path) -> None:
    table = pa.Table.from_pylist(ROWS)
    path = tmp_path / "a.arrow"
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    assert values(path) == ROWS
    assert column_names(path) == list(ROWS[0])
