"""What is written is whole or not there."""

from __future__ import annotations

import hashlib
import os
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


@pytest.fixture
def large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that counts as large and settled, with an empty cache."""
    monkeypatch.setattr(files, "_LARGE_BYTES", 4)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = tmp_path / "weights"
    path.write_bytes(b"content")
    os.utime(path, (1e9, 1e9))
    # As in a new process, which remembers nothing.
    files._remembered_sha256.cache_clear()
    return path


def notes(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "cache" / "wmss" / "sha256").glob("*"))


def test_a_large_file_is_read_once_by_all_processes(large: Path, tmp_path: Path) -> None:
    assert files.known_sha256(large) == files.sha256(large)
    (note,) = notes(tmp_path)
    note.write_text("0" * 64)
    files._remembered_sha256.cache_clear()
    assert files.known_sha256(large) == "0" * 64, "the note was read, and not the file"


def test_a_large_file_that_changed_is_read_again(large: Path, tmp_path: Path) -> None:
    files.known_sha256(large)
    large.write_bytes(b"CONTENT")
    os.utime(large, (1e9 + 1, 1e9 + 1))
    assert files.known_sha256(large) == files.sha256(large)
    assert len(notes(tmp_path)) == 2


def test_a_file_of_just_now_is_not_remembered(large: Path, tmp_path: Path) -> None:
    os.utime(large)
    assert files.known_sha256(large) == files.sha256(large)
    assert notes(tmp_path) == []


def test_a_damaged_note_is_written_again(large: Path, tmp_path: Path) -> None:
    files.known_sha256(large)
    notes(tmp_path)[0].write_text("half of a ha")
    files._remembered_sha256.cache_clear()
    assert files.known_sha256(large) == files.sha256(large)
    assert notes(tmp_path)[0].read_text() == files.sha256(large)


def test_without_a_cache_folder_the_file_is_read_each_time(
    large: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null")
    assert files.known_sha256(large) == files.sha256(large)


def test_a_hash_of_values_does_not_depend_on_the_order_of_keys() -> None:
    assert files.canonical_hash({"a": 1, "b": [2]}) == files.canonical_hash({"b": [2], "a": 1})
    assert files.canonical_hash([1, 2]) != files.canonical_hash([2, 1])
    assert files.canonical_hash({"a": 1}) != files.canonical_hash({"a": "1"})


def test_files_under_a_folder_come_sorted_and_relative(tmp_path: Path) -> None:
    (tmp_path / "sub" / "empty").mkdir(parents=True)
    for name in ("z", "sub/b", "a"):
        (tmp_path / name).touch()
    assert [str(path) for path in files.files_under(tmp_path)] == ["a", "sub/b", "z"]


def test_a_last_line_may_be_cut_inside_of_a_character(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    files.write_json_lines(path, [{"text": "√2"}, {"text": "√3"}])
    whole = path.read_bytes()
    path.write_bytes(whole[: whole.rindex("√".encode()) + 1])
    assert files.read_json_lines(path) == [{"text": "√2"}]


def test_a_line_is_appended_in_place_of_one_cut_short(tmp_path: Path) -> None:
    path = tmp_path / "lines.jsonl"
    files.append_durably(path, {"a": "é"})
    files.append_durably(path, {"b": 2})
    assert path.read_text(encoding="utf-8") == '{"a": "é"}\n{"b": 2}\n'
    path.write_bytes(path.read_bytes() + b'{"c": "\xc3')
    files.append_durably(path, {"d": 4})
    assert files.read_json_lines(path) == [{"a": "é"}, {"b": 2}, {"d": 4}]
    path.write_bytes(b'{"cut')
    files.append_durably(path, {"e": 5})
    assert files.read_json_lines(path) == [{"e": 5}]
