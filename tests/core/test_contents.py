"""Inputs are verified before use, and each file once on a node."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from wmss_cli.core import contents, files
from wmss_cli.core.artifact import Job, open_draft
from wmss_cli.core.contents import check_contents
from wmss_cli.core.errors import IntegrityError
from wmss_cli.core.manifest import MANIFEST, read_manifest

FILES = {"table.parquet": b"rows" * 500, "model/weights": b"\x00" * 4096, "model/README.md": b"#"}


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    out = tmp_path / "sft"
    with open_draft(Job("sft", {}, {}, {}, str(out))) as draft:
        for name, content in FILES.items():
            (draft.folder / name).parent.mkdir(exist_ok=True)
            (draft.folder / name).write_bytes(content)
        draft.commit({"accuracy": 0.731, "note": "é"})
    return out


def flip(path: Path, place: int, bit: int = 0) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1 << bit
    path.write_bytes(content)


def test_what_is_as_it_was_written_is_sound(artifact: Path) -> None:
    checked = check_contents([artifact])
    assert checked.files == 2, "without the card, which is there for people"
    assert checked.bytes == checked.read_bytes == 2000 + 4096


@pytest.mark.parametrize("name", ["table.parquet", "model/weights"])
@pytest.mark.parametrize("place", [0, 1000, -1])
def test_a_flipped_bit_names_the_file_and_what_to_do(artifact: Path, name: str, place: int) -> None:
    flip(artifact / name, place)
    with pytest.raises(IntegrityError) as caught:
        check_contents([artifact])
    message = str(caught.value)
    assert message.startswith(f"{artifact / name}: changed since it was written")
    assert message.endswith(f"delete the folder {artifact} and repeat the command that made it")
    assert "\n" not in message


@pytest.mark.parametrize("change", [Path.unlink, lambda path: path.write_bytes(b"")])
def test_a_missing_and_an_empty_file_are_found(
    artifact: Path, change: Callable[[Path], None]
) -> None:
    change(artifact / "model/weights")
    with pytest.raises(IntegrityError, match=r"weights: (missing|changed)"):
        check_contents([artifact / "model"])


def test_only_the_part_that_is_named_is_read(artifact: Path) -> None:
    flip(artifact / "table.parquet", 7)
    assert check_contents([artifact / "model"]).files == 1
    with pytest.raises(IntegrityError, match=r"table\.parquet"):
        check_contents([artifact / "table.parquet"])


def test_a_card_may_be_completed_by_hand(artifact: Path) -> None:
    (artifact / "model/README.md").write_text("licence: apache-2.0")
    check_contents([artifact])


def test_what_is_no_artifact_has_no_hash_to_be_compared_with(tmp_path: Path) -> None:
    (tmp_path / "data.jsonl").write_text("{}\n")
    assert check_contents([tmp_path / "data.jsonl", tmp_path]).files == 0


def test_every_flipped_bit_of_a_manifest_is_found_or_changes_nothing(artifact: Path) -> None:
    path = artifact / MANIFEST
    whole = path.read_bytes()
    made = read_manifest(artifact)
    found = 0
    for place in range(len(whole)):
        flip(path, place, bit=place % 8)
        try:
            assert read_manifest(artifact) == made, whole[place - 9 : place + 9]
        except IntegrityError as error:
            found += 1
            assert str(error).startswith(f"{path}: damaged")  # noqa: PT017
        path.write_bytes(whole)
    assert found > 0.8 * len(whole), "what is left is white space and the checksum's own name"


def test_a_damaged_manifest_above_a_model_is_no_other_tools(artifact: Path) -> None:
    flip(artifact / MANIFEST, 60)
    with pytest.raises(IntegrityError, match="delete the folder"):
        check_contents([artifact / "model"])


def test_a_manifest_of_an_earlier_version_has_no_checksum(artifact: Path) -> None:
    made = read_manifest(artifact)
    files.write_json(artifact / MANIFEST, made.model_dump(mode="json"))
    assert read_manifest(artifact) == made


@pytest.fixture
def large(artifact: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An artifact whose weights count as large and are some seconds old; nothing is remembered."""
    monkeypatch.setattr(contents, "_REMEMBERED_BYTES", 4096)
    monkeypatch.setattr(contents, "_SETTLED_NS", 0)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return artifact


def test_a_large_file_is_read_once(large: Path) -> None:
    assert check_contents([large]).read_bytes == 2000 + 4096
    assert check_contents([large]).read_bytes == 2000


def test_whoever_writes_to_a_file_cannot_hide_it_by_its_time(large: Path) -> None:
    weights = large / "model/weights"
    check_contents([large])
    before = weights.stat()
    flip(weights, 5)
    os.utime(weights, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert weights.stat().st_mtime_ns == before.st_mtime_ns
    with pytest.raises(IntegrityError, match="changed since it was written"):
        check_contents([large])


def test_another_file_in_the_place_is_read(large: Path) -> None:
    weights = large / "model/weights"
    check_contents([large])
    aside = large / "aside"
    aside.write_bytes(weights.read_bytes())
    aside.rename(weights)
    assert check_contents([large / "model"]).read_bytes == 4096


def test_a_file_of_just_now_is_not_remembered(large: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contents, "_SETTLED_NS", 60 * 10**9)
    check_contents([large])
    assert check_contents([large / "model"]).read_bytes == 4096


def test_a_damaged_note_is_not_believed(large: Path, tmp_path: Path) -> None:
    check_contents([large])
    (note,) = tmp_path.glob(f"cache/wmss/verified/*/{64 * '?'}")
    note.write_text("half of a ha")
    assert check_contents([large / "model"]).read_bytes == 4096


def test_notes_of_others_are_not_believed(
    large: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path / "node"))
    check_contents([large])
    assert check_contents([large / "model"]).read_bytes == 0
    # Anybody may make this folder before its user does.
    (tmp_path / f"node/wmss-{os.getuid()}").chmod(0o777)
    assert check_contents([large / "model"]).read_bytes == 4096


def test_processes_of_a_node_read_a_file_once_together(
    large: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[Path] = []
    hashed = files.sha256

    def slow(path: Path) -> str:
        reads.append(path)
        time.sleep(0.2)
        return hashed(path)

    monkeypatch.setattr(files, "sha256", slow)
    threads = [threading.Thread(target=check_contents, args=([large / "model"],)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert reads == [large / "model/weights"]


@pytest.mark.slow
def test_two_cores_verify_more_than_a_gigabyte_a_second(tmp_path: Path) -> None:
    out = tmp_path / "big"
    with open_draft(Job("sft", {}, {}, {}, str(out))) as draft:
        for part in range(4):
            (draft.folder / f"part-{part}").write_bytes(bytes(2**26))
        draft.commit({})
    # The time of the CPU, which does not depend on what else the machine does.
    before = time.process_time()
    checked = check_contents([out])
    seconds = (time.process_time() - before) / (checked.read_bytes / 1e9)
    print(f"{seconds:.2f} s of a core for each GB: {2 / seconds:.1f} GB/s on two cores")
    assert checked.read_bytes == 2**28
    assert seconds < 2
