"""The data card in words and as a picture."""

from __future__ import annotations

from pathlib import Path

from wmss_cli.data.card import write_card

METRICS = {
    "records": 200,
    "kept": 100,
    "rejected": {"wrong_answer": 60, "format": 40},
    "first_rejected": {"wrong_answer": "a, row 2: answer '5'", "format": "a, row 7: no <think>"},
    "by_kind": {"code": {"total": 50, "kept": 25}, "math": {"total": 150, "kept": 75}},
    "by_source": {"": {"total": 20, "kept": 10}, "sums": {"total": 180, "kept": 90}},
    "decontaminated_against": [],
    "sandbox": ["bubblewrap"],
}


def test_counts_lengths_and_fingerprints(tmp_path: Path) -> None:
    write_card(tmp_path, METRICS, {10: 50, 100: 49, 5000: 1}, {"data-0000": "abc"})
    card = (tmp_path / "card.md").read_text()
    for line in (
        "100 of 200 records are kept.",
        "| wrong_answer | 60 | 30.0% |",
        "- wrong_answer: a, row 2: answer '5'",
        "Benchmark questions looked for: none.",
        "Programs were run in the sandbox: bubblewrap.",
        "| code | 50 | 25 | 25.0% |",
        "| math | 150 | 75 | 75.0% |",
        "| (none) | 20 | 10 | 10.0% |",
        "| sums | 180 | 90 | 90.0% |",
        "| data-0000 | `abc` |",
    ):
        assert line in card.splitlines()
    assert "10 (5%), 10 (25%), 10 (50%), 100 (75%), 100 (95%)" in card
    assert (tmp_path / "lengths.png").stat().st_size > 1000


def test_one_length_alone_can_be_drawn(tmp_path: Path) -> None:
    write_card(tmp_path, METRICS, {7: 100}, {})
    assert "7 (5%), 7 (25%), 7 (50%), 7 (75%), 7 (95%)" in (tmp_path / "card.md").read_text()
