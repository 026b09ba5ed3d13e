"""Equal samples and nearly equal ones."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wmss_cli.core.schema import JUDGED, write_parquet
from wmss_cli.data.duplicates import (
    PERMUTATIONS,
    band_keys,
    content_key,
    find_copies,
    originals,
    problem_key,
    signature,
    suspects,
)
from wmss_cli.data.words import ngrams, words


def test_case_and_white_space_make_no_difference() -> None:
    key = content_key("Tom has 3 apples.", "<answer>3</answer>")
    assert content_key(" tom  has\n3 APPLES.", "<ANSWER>3</answer>\n") == key
    assert content_key("Tom has 3 apples.", "<answer>-3</answer>") != key
    assert content_key("Tom has 3 apples. <answer>3</answer>", "") != key


def jaccard(a: str, b: str) -> float:
    one, other = (set(ngrams(words(text), 5)) for text in (a, b))
    return len(one & other) / len(one | other)


def near(texts: Sequence[str], threshold: float, problems: Sequence[int] = ()) -> list[int]:
    """Return the original of each text, as the stage finds it: among the suspects alone."""
    signatures = np.stack([signature(text) for text in texts])
    numbers = np.array(problems or [0] * len(texts), dtype=np.uint64)
    keys = band_keys(signatures, numbers, threshold)
    found = np.arange(len(texts))
    some = suspects(keys)
    found[some] = some[originals(keys[some], signatures[some], numbers[some], threshold)]
    return found.tolist()


def text(rng: random.Random, length: int) -> list[str]:
    return [f"w{rng.randrange(10_000)}" for _ in range(length)]


def changed(rng: random.Random, original: list[str], edits: int) -> list[str]:
    copy = list(original)
    for place in rng.sample(range(len(copy)), edits):
        copy[place] = f"x{rng.randrange(10_000)}"
    return copy


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**32), st.integers(0, 40))
def test_equal_values_estimate_the_overlap(seed: int, edits: int) -> None:
    rng = random.Random(seed)
    first = text(rng, 400)
    a, b = " ".join(first), " ".join(changed(rng, first, edits))
    estimate = float((signature(a) == signature(b)).mean())
    # Five standard errors.
    assert estimate == pytest.approx(jaccard(a, b), abs=5 * 0.5 / PERMUTATIONS**0.5)


def test_near_duplicates_go_and_the_first_of_a_cluster_stays() -> None:
    rng = random.Random(0)
    first, other = text(rng, 300), text(rng, 300)
    rows = [first, other, changed(rng, first, 2), first, changed(rng, other, 2), text(rng, 300)]
    assert near([" ".join(row) for row in rows], 0.8) == [0, 1, 0, 0, 1, 5]


def test_samples_of_other_problems_stay_however_near_they_are() -> None:
    rng = random.Random(3)
    template = text(rng, 300)
    rows = [" ".join(changed(rng, template, 2)) for _ in range(6)]
    assert near(rows, 0.8, problems=[1, 2, 1, 3, 2, 4]) == [0, 1, 0, 3, 1, 5]


def test_thousands_of_problems_from_one_template_are_not_compared_with_each_other() -> None:
    signatures = np.tile(signature("Tom buys apples at the market and walks home."), (20_000, 1))
    problems = np.arange(len(signatures), dtype=np.uint64)
    keys = band_keys(signatures, problems, 0.8)
    # By chance alone: 2^32 keys in each band.
    assert len(suspects(keys)) < 0.01 * len(keys)


@pytest.mark.parametrize(
    ("prompt", "reference"),
    [
        ("Tom has 3 apples.", "8"),
        ("Tom has 4 apples.", "7"),
        ("Tom has -3 apples and 5 pears.", "7"),
        ("Tom has 3 apples.", "-7"),
        ("Tom has 3 apples.", r"\frac{7}{2}"),
        ("Tom has 3 apples.", ""),
    ],
)
def test_another_number_or_reference_makes_another_problem(prompt: str, reference: str) -> None:
    assert problem_key(prompt, reference) != problem_key("Tom has 3 apples.", "7")


@pytest.mark.parametrize(
    ("prompt", "reference"),
    [
        ("Ann has 3 pears!", "7"),
        ("Tom has $3$ apples.", "$7$"),
        ("tom has\n3 apples", r"\boxed{7}"),
        ("Tom has 3 apples.", "7.00"),
    ],
)
def test_how_a_problem_is_written_does_not(prompt: str, reference: str) -> None:
    assert problem_key(prompt, reference) == problem_key("Tom has 3 apples.", "7")


def test_a_chain_is_no_cluster() -> None:
    # Each is near the one before; what is compared is the one that stays.
    rng = random.Random(1)
    chain = [text(rng, 300)]
    for _ in range(6):
        chain.append(changed(rng, chain[-1], 4))
    rows = np.stack([signature(" ".join(row)) for row in chain])
    found = near([" ".join(row) for row in chain], 0.8)
    for row, original in enumerate(found):
        assert found[original] == original
        if original != row:
            assert (rows[row] == rows[original]).mean() >= 0.8
    assert 1 < len(set(found)) < len(chain)


@pytest.mark.parametrize("threshold", [0.7, 0.8, 0.9])
def test_bands_find_what_a_comparison_of_all_pairs_finds(threshold: float) -> None:
    rng = random.Random(2)
    rows = []
    for _ in range(30):
        original = text(rng, 200)
        rows += [original, changed(rng, original, rng.randrange(12))]
    rng.shuffle(rows)
    signatures = np.stack([signature(" ".join(row)) for row in rows])
    found = near([" ".join(row) for row in rows], threshold)
    missed = 0
    staying: list[int] = []
    for row in range(len(rows)):
        like = [o for o in staying if (signatures[o] == signatures[row]).mean() >= threshold]
        missed += bool(like) != (found[row] != row)
        if not like:
            staying.append(row)
    # The bands are laid out so that few pairs just above the threshold are missed.
    assert missed <= 4
    assert found != list(range(len(rows)))


def test_short_and_empty_texts_are_compared_as_a_whole() -> None:
    assert near(["two words", "", "Two words!", "other words"], 0.8) == [0, 1, 0, 3]


def test_there_may_be_none() -> None:
    signatures = np.empty((0, PERMUTATIONS), np.uint32)
    problems = np.empty(0, np.uint64)
    keys = band_keys(signatures, problems, 0.8)
    assert suspects(keys).tolist() == originals(keys, signatures, problems, 0.8).tolist() == []


def test_real_questions_are_hardly_near_each_other(shared_data: Path) -> None:
    with (shared_data / "gsm8k.jsonl").open(encoding="utf-8") as lines:
        questions = [json.loads(line)["question"] for line in lines][:400]
    found = near(questions, 0.8)
    assert sum(original != row for row, original in enumerate(found)) <= 1


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
