"""Copies among judged records: the first stays, wherever the files were cut."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from wmss_cli.core.schema import JUDGED, write_parquet
from wmss_cli.data.copies import find_copies
from wmss_cli.data.duplicates import content_key, problem_key, signature

STORY = "Tom has four apples and buys three more at the market before he walks home to his sister."


def judged(
    place: int, text: str, reason: str | None = None, reference: str = "7"
) -> dict[str, Any]:
    kept = reason is None
    blank = dict.fromkeys(JUDGED.names)
    return blank | {
        "place": place,
        "file": "data-0000:am",
        "row": place + 1,
        "source": "",
        "prompt": text,
        "completion": "",
        "detail": "",
        "reason": reason,
        "content_key": content_key(text, "") if kept else None,
        "signature": signature(text).tobytes() if kept else None,
        "problem_key": problem_key(text, reference) if kept else None,
    }


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Two files, dealt like cards; a near copy and a copy of the first record in the other."""
    rows = [
        judged(0, STORY),
        judged(1, f"{STORY} Well"),
        judged(2, "Something else entirely, of another kind, with other words in it."),
        judged(3, STORY.upper()),
        judged(4, "Rejected."),
        judged(5, "Rejected.", reason="wrong_answer"),
        judged(6, f"{STORY} Well then", reference="8"),
    ]
    paths = [tmp_path / "0.parquet", tmp_path / "1.parquet"]
    for part, path in enumerate(paths):
        write_parquet(path, rows[part::2], JUDGED)
    return paths


def test_copies_go_and_say_of_what_they_are_near_copies(files: list[Path]) -> None:
    assert find_copies(files, 0.8) == {
        1: ("near_duplicate", "of data-0000:am, row 1"),
        3: ("duplicate", ""),
    }


def test_without_a_threshold_only_exact_copies_are_looked_for(files: list[Path]) -> None:
    assert find_copies(files, None) == {3: ("duplicate", "")}


def test_the_order_of_the_files_says_nothing(files: list[Path]) -> None:
    assert find_copies(files[::-1], 0.8) == find_copies(files, 0.8)


def test_what_goes_for_another_reason_makes_no_record_superfluous(files: list[Path]) -> None:
    assert find_copies(files, 0.8, gone={0}) == {3: ("near_duplicate", "of data-0000:am, row 2")}
