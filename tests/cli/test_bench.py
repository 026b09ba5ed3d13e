"""wmss bench measures for real; only its sizes are small here."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from commands import invoke

from wmss_cli.bench.results import Report


@pytest.mark.slow
@pytest.mark.parametrize(
    ("part", "titles", "agreements"),
    [
        ("loss", ["mixed loss"], {"loss", "gradient"}),
        ("step", ["an AdamW step", "an AdamW step"], {"loss"}),
        ("score", ["entropy"], {"entropy", "entropy, against a float64 loop"}),
    ],
)
def test_a_bench_gives_times_memory_and_agreement(
    part: str, titles: list[str], agreements: set[str], tmp_path: Path
) -> None:
    out, picture = tmp_path / "bench", tmp_path / "bench.png"
    done = invoke(
        *("bench", part, "--size", "small", "--rounds", "1"),
        *("--out", str(out), "--plot", str(picture), "--json"),
    )
    report = Report.model_validate(json.loads(done.stdout))
    assert [p.title.split(" on ")[0].split(",")[0].split(" of ")[0] for p in report.parts] == titles
    assert {a.what for p in report.parts for a in p.agreements} == agreements
    for entry in (entry for p in report.parts for entry in p.entries):
        assert entry.seconds is not None
        assert entry.seconds.low > 0.0
        assert entry.memory_bytes is not None
        assert entry.memory_bytes > 0
        assert entry.limit is not None
    assert all(ratio.goal is None for p in report.parts for ratio in p.ratios)
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert not (out / "scratch").exists()
