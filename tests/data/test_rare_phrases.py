"""What is rare among all records: the same however these are spread over files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from wmss_cli.core.schema import JUDGED, write_parquet
from wmss_cli.data.contamination import Benchmarks, Question
from wmss_cli.data.duplicates import content_key
from wmss_cli.data.rare_phrases import find_contaminated

RULE = "Two seatings are considered the same if one is a rotation of the other, as usual."
QUESTION = f"A senate committee has 8 republicans and wants to sit together. {RULE}"
BENCHMARKS = Benchmarks([Question("tables", "t1", QUESTION)])


def judged(place: int, prompt: str) -> dict[str, Any]:
    overlap = BENCHMARKS.overlap(prompt, "")
    row: dict[str, Any] = dict.fromkeys(JUDGED.names)
    row |= dict.fromkeys(["file", "source", "prompt", "completion", "detail"], "")
    row |= {"place": place, "row": place + 1}
    if overlap.phrases:
        row |= {"phrases": overlap.phrases, "phrases_apart": overlap.apart}
        row["prompt_key"] = content_key(prompt, "")[:8]
    return row


def write(folder: Path, prompts: list[str], files: int) -> list[Path]:
    rows = [judged(place, prompt) for place, prompt in enumerate(prompts)]
    paths = [folder / f"{files}-{part}.parquet" for part in range(files)]
    for part, path in enumerate(paths):
        write_parquet(path, rows[part::files], JUDGED)
    return paths


@pytest.mark.parametrize("files", [1, 2, 5])
def test_three_other_problems_make_a_phrase_common(tmp_path: Path, files: int) -> None:
    prompts = [f"{who} around a table. {RULE}" for who in ("Knights feast", "Dwarfs", "We dine")]
    found = find_contaminated(write(tmp_path, [*prompts, "Count."], files), BENCHMARKS)
    assert found.details == {}
    assert found.common.keys() == {0, 1, 2}
    (phrase,) = set(found.common.values())
    assert BENCHMARKS.name(phrase).how.startswith("two seatings are considered the same")


@pytest.mark.parametrize("files", [1, 2, 5])
def test_copies_of_one_prompt_and_variants_of_the_question_do_not(
    tmp_path: Path, files: int
) -> None:
    leaked = QUESTION.replace("8 republicans", "9 republicans").replace("wants", "wishes")
    prompts = [f"Knights feast around a table. {RULE}"] * 5
    prompts += [f"{before} {leaked}" for before in ("Hello!", "Think.", "Solve this.", "Well,")]
    found = find_contaminated(write(tmp_path, prompts, files), BENCHMARKS)
    assert found.details.keys() == set(range(9))
    assert all(detail.startswith("tables t1: ") for detail in found.details.values())


def test_there_may_be_none(tmp_path: Path) -> None:
    found = find_contaminated(write(tmp_path, ["Count.", "Count again."], 1), BENCHMARKS)
    assert (found.details, found.common) == ({}, {})
