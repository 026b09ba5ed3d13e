"""What is written is whole or not there."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from wmss_cli.core import files


def test_a_text_replaces_the_old_one_and_leaves_nothing_aside(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    files.write_text(path, "old")
    files.write_text(path, "new é")
    assert path.read_text(encoding="utf-8") == "new é"
    assert [p.name for p in tmp_path.iterdir()] == ["file.txt"]


def test_a_write_that_fails_leaves_the_old_text(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    files.write_text(path, "old")
    with pytest.raises(UnicodeEncodeError):
        files.write_text(path, "half of a pair: \ud83d")
    assert path.read_text(encoding="utf-8") == "old"


def test_json_is_for_people_and_keeps_the_order(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    files.write_json(path, {"b": "é", "a": [1]})
    assert path.read_text(encoding="utf-8") == '{\n  "b": "é",\n  "a": [\n    1\n  ]\n}\n'


def test_a_line_cut_short_by_a_crash_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    files.append_json_line(path, {"step": 1})
    files.append_json_line(path, {"step": 2})
    with path.open("a", encoding="utf-8") as file:
        file.write('{"step": 3, "lo')
    assert files.read_json_lines(path) == [{"step": 1}, {"step": 2}]


def test_json_lines_are_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    files.append_json_line(path, {"step": 9})
    files.write_json_lines(path, [{"step": 1}, {"step": 2}])
    assert files.read_json_lines(path) == [{"step": 1}, {"step": 2}]


def test_hash_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"content")
    expected = hashlib.sha256(b"content").hexdigest()
    assert files.sha256(path) == files.known_sha256(path) == expected


def test_the_remembered_hash_follows_the_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"one")
    before = files.known_sha256(path)
    path.write_bytes(b"longer")
    assert files.known_sha256(path) != before
    assert files.known_sha256(path) == files.sha256(path)


def test_a_hash_of_values_does_not_depend_on_the_order_of_keys() -> None:
    assert files.canonical_hash({"a": 1, "b": [2]}) == files.canonical_hash({"b": [2], "a": 1})
    assert files.canonical_hash([1, 2]) != files.canonical_hash([2, 1])
    assert files.canonical_hash({"a": 1}) != files.canonical_hash({"a": "1"})


def test_files_under_a_folder_come_sorted_and_relative(tmp_path: Path) -> None:
    (tmp_path / "sub" / "empty").mkdir(parents=True)
    for name in ("z", "sub/b", "a"):
        (tmp_path / name).touch()
    assert [str(path) for path in files.files_under(tmp_path)] == ["a", "sub/b", "z"]
