"""A small file vouches for itself: no flipped bit of it is believed."""

from __future__ import annotations

from pathlib import Path

from wmss_cli.core import files, sealed

VALUES = {"step": 200, "rate": 1e-5, "files": {"a/b": "c0ffee"}, "none": None, "é": [1, True]}


def test_what_is_written_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    sealed.write_sealed(path, VALUES)
    assert sealed.unseal(path.read_bytes()) == VALUES


def test_no_flipped_bit_changes_a_value_unseen(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    sealed.write_sealed(path, VALUES)
    whole = path.read_bytes()
    for place in range(len(whole)):
        for bit in range(8):
            damaged = bytearray(whole)
            damaged[place] ^= 1 << bit
            found = sealed.unseal(bytes(damaged))
            # The name of the checksum may be hit: then the values are sound, beside a lost key.
            assert found is None or {name: found.get(name) for name in VALUES} == VALUES


def test_a_file_without_a_checksum_is_one_of_an_earlier_version(tmp_path: Path) -> None:
    files.write_json(tmp_path / "old.json", VALUES)
    assert sealed.unseal((tmp_path / "old.json").read_bytes()) == VALUES


def test_what_is_no_json_object_is_damaged() -> None:
    for content in (b"", b"{", b"[]", b"\xff\xfe", b"null"):
        assert sealed.unseal(content) is None


def test_damaged_lines_are_left_out_and_can_be_made_again(tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    rows = [{"id": str(i), "text": f"{i} apples"} for i in range(4)]
    sealed.write_sealed_lines(path, rows[:2])
    for row in rows[2:]:
        sealed.append_sealed_line(path, row)
    assert sealed.read_sealed_lines(path) == rows
    content = path.read_bytes()
    path.write_bytes(content.replace(b"2 apples", b"3 apples"))
    assert sealed.read_sealed_lines(path) == [rows[0], rows[1], rows[3]]
    # Without the end of a line two rows are one that is none.
    path.write_bytes(content.replace(b"\n", b"\x0b", 1))
    assert sealed.read_sealed_lines(path) == rows[2:]
