"""wmss bench measures for real; only its sizes are small here."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from commands import invoke
from table import make_token_table

from wmss_cli.bench.results import BenchResults, Entry, Ratio, Spread, at_most
from wmss_cli.cli.bench_commands import _ratios, _ways


@pytest.mark.slow
@pytest.mark.parametrize(
    ("part", "titles", "agreements"),
    [
        ("loss", ["mixed loss"], {"loss", "gradient"}),
        ("step", ["an AdamW step", "an AdamW step", "a step"], {"loss"}),
        ("score", ["entropy"], {"entropy", "entropy, against a float64 loop"}),
        ("cli", ["the help", "a run", "40 mathematical records"], {"right answers"}),
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
    results = BenchResults.model_validate(json.loads(done.stdout))
    assert [
        p.title.split(" on ")[0].split(",")[0].split(" of ")[0] for p in results.parts
    ] == titles
    assert {a.what for p in results.parts for a in p.agreements} == agreements
    for one, entry in ((p, entry) for p in results.parts for entry in p.entries):
        assert entry.seconds is not None
        assert entry.seconds.low > 0.0
        assert (entry.memory_bytes or 0) > 0 or not one.memory
        assert (entry.limit is None) == (part == "cli")
    assert all(ratio.goal is None for p in results.parts for ratio in p.ratios)
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert not (out / "scratch").exists()


def test_speeds_are_written_out_and_goals_only_where_there_are_some() -> None:
    second = Spread.of([1.0])
    way = Entry(name="wmss", seconds=second, unit="tokens", per_second=Spread.of([15263.2]))
    assert list(_ways((way,)).columns[2].cells) == ["15,263.2"]
    free = Ratio(quantity="time", name="wmss / authors", value=Spread.of([0.7]))
    bound = free.model_copy(update={"goal": at_most(0.65)})
    assert [column.header for column in _ratios((free,)).columns] == ["ratio", "of", "found"]
    table = _ratios((bound, free))
    assert list(table.columns[3].cells) == ["<= 0.65", ""]
    assert [str(cell) for cell in table.columns[4].cells] == ["no", ""]


@pytest.mark.slow
def test_generation_is_measured_with_a_model_and_prompts_of_ones_own(
    tiny_model: Path, tmp_path: Path
) -> None:
    tokens = make_token_table(tmp_path / "tokens", tiny_model, [(3 + i % 4, 5) for i in range(20)])
    options = ("--size", "small", "--rounds", "1", "--out", str(tmp_path / "bench"), "--json")
    done = invoke("bench", "generate", "--model", tiny_model, "--tokens", tokens, *options)
    (part,) = BenchResults.model_validate(json.loads(done.stdout)).parts
    assert part.title.startswith("20 answers")
    assert str(tiny_model) in part.title
    assert {one.what for one in part.agreements} == {"share of other answers"}
    assert all(entry.seconds is not None for entry in part.entries)
    alone = invoke("bench", "generate", "--model", tiny_model, *options)
    assert "--model and --tokens go together" in alone.stderr
    loss = invoke("bench", "loss", "--model", tiny_model, "--tokens", tokens, *options)
    assert "are for generate" in loss.stderr
