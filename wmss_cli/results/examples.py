"""Answers to browse: some problems with what each arm wrote, cut to fit a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from wmss_cli.core.schema import GENERATION
from wmss_cli.results.findings import Answer, Problem
from wmss_cli.results.grades import GENERATIONS_FILE, Grades, problem_key

BUDGET_BYTES = 1_500_000
"""Most bytes that texts may take on the page, escaped and encoded."""

MOST = 20
"""Largest number of problems per task."""

_FEWEST = 2
_WANTED_BYTES = 1_100
_MARKUP_BYTES = 330
_REFERENCE_BYTES = 600
_TEXTS_PER_BATCH = 256


@dataclass(frozen=True)
class Asked:
    """One evaluation whose answers are shown.

    Attributes
    ----------
    arm : int
        Index of the arm in the findings.
    seed : int or None
        The seed of the run.
    folder : Path
        The folder of the evaluation.
    grades : mapping
        The grades, by task.
    """

    arm: int
    seed: int | None
    folder: Path
    grades: Mapping[str, Grades]


def choose(
    problems: Mapping[str, Sequence[str]], asked: Sequence[Asked], most: int = MOST
) -> dict[str, list[str]]:
    """Choose the problems to show for each task: up to half are problems on which arms disagree.

    Parameters
    ----------
    problems : mapping
        The keys of the problems, by task.
    asked : sequence of Asked
        One evaluation for each arm.
    most : int
        Largest number per task; smaller if there are many arms and tasks.
    """
    answers = max(1, sum(len(problems) for _ in asked))
    fitting = max(_FEWEST, BUDGET_BYTES // (answers * _WANTED_BYTES))
    number = min(most, fitting)
    chosen: dict[str, list[str]] = {}
    for task, keys in problems.items():
        own = [one.grades[task].shares for one in asked if task in one.grades]
        split = [key for key in keys if len({shares[key] for shares in own if key in shares}) > 1]
        wanted = set(_spread(split, (number + 1) // 2))
        agreed = [key for key in keys if key not in set(split)]
        wanted |= set(_spread(agreed, number - len(wanted)))
        wanted |= set(_spread([key for key in split if key not in wanted], number - len(wanted)))
        chosen[task] = [key for key in keys if key in wanted]
    return chosen


def show(chosen: Mapping[str, Sequence[str]], asked: Sequence[Asked]) -> list[Problem]:
    """Return the chosen problems with the first answer of each evaluation, cut to the budget."""
    rows = [(one, _rows_of(one.folder, chosen)) for one in asked]
    places = [(task, key) for task, keys in chosen.items() for key in keys]
    texts = [text for _, own in rows for row in own.values() for text in [row["text"]]]
    prompts = {
        place: next((own[place]["prompt"] for _, own in rows if place in own), "")
        for place in places
    }
    lengths = [_size(text) for text in (*texts, *prompts.values())]
    room = BUDGET_BYTES - _MARKUP_BYTES * len(lengths)
    limit = _level(lengths, max(room, 0))
    shown = []
    for task, key in places:
        there = [(one, own[task, key]) for one, own in rows if (task, key) in own]
        if not there:
            continue
        prompt, hidden = shorten(prompts[task, key], limit)
        row = there[0][1]
        shown.append(
            Problem(
                task=task,
                id=row["id"],
                prompt=prompt,
                hidden=hidden,
                reference=shorten(row["reference_answer"], _REFERENCE_BYTES)[0],
                answers=[_answer(one, own, limit) for one, own in there],
            )
        )
    return shown


def shorten(text: str, most: int) -> tuple[str, int]:
    """Cut a text in its middle so that it takes at most `most` bytes in HTML.

    Returns
    -------
    text : str
        The beginning and the end, where an answer usually is, with a mark between them.
    hidden : int
        Number of characters that are left out.
    """
    if _size(text) <= most:
        return text, 0
    head, tail = _fitting(text, most * 2 // 5), _fitting(text[::-1], most * 3 // 5)
    hidden = len(text) - head - tail
    return f"{text[:head]}\n[… {hidden:,} characters …]\n{text[len(text) - tail :]}", hidden


def _answer(one: Asked, row: Mapping[str, Any], limit: int) -> Answer:
    text, hidden = shorten(row["text"], limit)
    extracted = row["extracted"]
    return Answer(
        arm=one.arm,
        seed=one.seed,
        text=text,
        extracted=None if extracted is None else shorten(extracted, 120)[0],
        correct=row["correct"],
        reason=row["reason"],
        cut=row["finish_reason"] == "length",
        hidden=hidden,
    )


def _rows_of(
    folder: Path, chosen: Mapping[str, Sequence[str]]
) -> dict[tuple[str, str], dict[str, Any]]:
    """Read the first answer to each chosen problem, with one batch of texts in memory at a time."""
    wanted = {(task, key) for task, keys in chosen.items() for key in keys}
    found: dict[tuple[str, str], dict[str, Any]] = {}
    file = pq.ParquetFile(folder / GENERATIONS_FILE, pre_buffer=False)
    for batch in file.iter_batches(_TEXTS_PER_BATCH, columns=GENERATION.names):
        ids = (batch[name].to_pylist() for name in ("task", "id", "reference_answer", "sample"))
        for i, (task, id_, reference, sample) in enumerate(zip(*ids, strict=True)):
            place = (task, problem_key(id_, reference))
            if sample == 0 and place in wanted:
                found[place] = batch.slice(i, 1).to_pylist()[0]
    return found


def _spread(keys: Sequence[str], number: int) -> list[str]:
    """Return `number` of the keys, evenly spaced."""
    if len(keys) <= number:
        return list(keys)
    return [keys[i * len(keys) // number] for i in range(number)]


def _size(text: str) -> int:
    return len(escape(text).encode("utf-8", "replace"))


def _fitting(text: str, most: int) -> int:
    """Return how many characters take at most this many bytes."""
    low, high = 0, min(len(text), most)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if _size(text[:middle]) <= most else (low, middle - 1)
    return low


def _level(sizes: Sequence[int], room: int) -> int:
    """Return the largest limit at which all sizes, each cut to it, fit into the room."""
    left = sorted(sizes)
    while left and left[0] * len(left) <= room:
        room -= left.pop(0)
    return room // len(left) if left else max(sizes, default=0)
