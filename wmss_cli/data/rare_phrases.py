"""Rejects records that share a phrase with a benchmark and with hardly any other record.

Shards record which phrases a record shares; how rare these are is known only when all records have
been read. Memory holds a few keys for each phrase, and one number for each record that shares one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq

from wmss_cli.data.contamination import COMMON, Benchmarks

_ROWS_PER_BATCH = 4096


@dataclass
class Contaminated:
    """What shared phrases say about the records.

    Attributes
    ----------
    details : dict of int to str
        What a record shares with which question, by the place of each rejected record.
    common : dict of int to int
        The first phrase of each record that shares only common ones, by its place.
    """

    details: dict[int, str] = field(default_factory=dict)
    common: dict[int, int] = field(default_factory=dict)


def find_contaminated(files: Sequence[Path], benchmarks: Benchmarks) -> Contaminated:
    """Find the records that share a rare phrase with a benchmark.

    Parameters
    ----------
    files : sequence of Path
        Tables of :data:`wmss_cli.core.schema.JUDGED` records. Together they have every place once.
    benchmarks : Benchmarks
        The same ones that the records were judged with.
    """
    prompts: defaultdict[int, set[bytes]] = defaultdict(set)
    for row in _sharing(files):
        for phrase in row["phrases_apart"]:
            # More prompts would not change the result, so memory stays bounded.
            if len(prompts[phrase]) < COMMON:
                prompts[phrase].add(row["prompt_key"])
    found = Contaminated()
    for row in _sharing(files):
        rare = [
            phrase
            for phrase in row["phrases"]
            if benchmarks.elsewhere(phrase) + len(prompts.get(phrase, ())) < COMMON
        ]
        if rare:
            met = benchmarks.name(rare[0])
            found.details[row["place"]] = f"{met.task} {met.id}: {met.how}"
        else:
            found.common[row["place"]] = row["phrases"][0]
    return found


def _sharing(files: Sequence[Path]) -> Iterator[dict[str, Any]]:
    columns = ["place", "prompt_key", "phrases", "phrases_apart"]
    for file in files:
        for batch in pq.ParquetFile(file, pre_buffer=False).iter_batches(
            _ROWS_PER_BATCH, columns=columns
        ):
            yield from batch.filter(pc.is_valid(batch["phrases"])).to_pylist()
