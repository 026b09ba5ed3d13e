"""wmss compare and wmss report on evaluations that are there."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import error_of, invoke
from matplotlib import pyplot as plt

from wmss_cli.core.artifact import Job, open_draft
from wmss_cli.core.config import EvalConfig
from wmss_cli.core.schema import GENERATION, write_parquet
from wmss_cli.results.summary import summarize


def write_evaluation(
    folder: Path, verdicts: Sequence[bool], model: Path | None = None, **options: Any
) -> Path:
    """Write an artifact of eval: the answers of a model to a task of as many problems."""
    rows = [
        {
            "task": "sums",
            "id": f"q{i}",
            "sample": 0,
            "prompt": f"{i} + {i}? <b>",
            "text": f"It is {i}.",
            "reference_answer": str(2 * i),
            "extracted": str(i),
            "correct": correct,
            "reason": "correct" if correct else "wrong_answer",
            "found_in": "boxed",
            "sandbox": None,
            "tokens": 4,
            "finish_reason": "stop",
        }
        for i, correct in enumerate(verdicts)
    ]
    config = EvalConfig(**options)
    inputs = {} if model is None else {"model": str(model)}
    job = Job("eval", config.model_dump(mode="json"), config.identity(), inputs, str(folder))
    with open_draft(job) as draft:
        write_parquet(draft.folder / "generations.parquet", rows, GENERATION)
        draft.commit(summarize(rows))
    return folder


@pytest.fixture
def evaluations(tmp_path: Path) -> tuple[Path, Path]:
    weak = write_evaluation(tmp_path / "eval-weak", [False] * 12)
    strong = write_evaluation(tmp_path / "eval-strong", [True] * 10 + [False] * 2, limit=12)
    return weak, strong


def test_compare_shows_and_prints_the_difference(evaluations: tuple[Path, Path]) -> None:
    shown = invoke("compare", *evaluations)
    assert "sums" in shown.stdout
    assert "+83.3" in shown.stdout
    (row,) = json.loads(invoke("compare", *evaluations, "--json").stdout)
    assert (row["first"], row["difference"]["n"], row["is_significant"]) == (0.0, 12, True)
    assert row["p"] == pytest.approx(2 / 2**10)


def write_arm(folder: Path, seeds: Sequence[int], most: int) -> list[Path]:
    """Write trainings of an arm, and evaluations of 20 problems: `most` less the seed are right."""
    written = []
    for place, seed in enumerate(seeds):
        training = folder / f"sft-{place}"
        with open_draft(Job("sft", {"seed": seed}, {"seed": seed}, {}, str(training))) as draft:
            (draft.folder / "model").mkdir()
            (draft.folder / "model" / "config.json").write_text("{}")
            draft.commit({})
        verdicts = [problem < most - seed for problem in range(20)]
        written.append(write_evaluation(folder / f"eval-{place}", verdicts, training / "model"))
    return written


def joined(folders: Sequence[Path]) -> str:
    return ",".join(map(str, folders))


def test_compare_takes_several_seeds_of_an_arm(tmp_path: Path) -> None:
    weak = write_arm(tmp_path / "weak", (0, 1, 2), 8)
    # In another order: they are paired by the seeds of their trainings.
    strong = write_arm(tmp_path / "strong", (2, 0, 1), 19)
    shown = invoke("compare", joined(weak), joined(strong)).stdout
    assert "3 seeds" in shown
    assert "+55.0" in shown
    assert all(len(line) <= 80 for line in shown.splitlines())
    (row,) = json.loads(invoke("compare", joined(weak), joined(strong), "--json").stdout)
    assert (row["task"], row["is_significant"]) == ("sums", True)
    assert row["first"]["mean"] == pytest.approx(7 / 20)
    assert row["second"]["covers_seeds"]
    found = row["difference"]
    assert (found["problems"], found["seeds"], found["seeds_won"]) == (20, 3, 3)
    assert 0.2 < found["low"] < found["mean"] < found["high"]

    # With each seed's own pair the difference is 11 of 20 always, so seeds do not differ at all.
    base = write_evaluation(tmp_path / "base", [False] * 20)
    (row,) = json.loads(invoke("compare", base, joined(strong), "--json").stdout)
    assert (row["first"]["covers_seeds"], row["difference"]["seeds"]) == (False, 3)


def test_seeds_that_do_not_belong_together_are_one_line(tmp_path: Path) -> None:
    weak, strong = (write_arm(tmp_path / "weak", (0, 1), 8), write_arm(tmp_path / "b", (0, 2), 9))
    line = error_of(invoke("compare", joined(weak), joined(strong)))
    assert "seeds 0, 1 on one side and 0, 2 on the other; they are paired by seed" in line
    line = error_of(invoke("compare", joined([weak[0], weak[0]]), joined(strong)))
    assert "both are of seed 0; give each seed once" in line
    line = error_of(invoke("compare", weak[0], joined(strong)))
    assert "one training, of seed 0, against 2 of the other side" in line
    short = [write_evaluation(tmp_path / f"short-{i}", [True] * 5) for i in range(2)]
    assert "15 problems are in one only" in error_of(invoke("compare", joined(weak), joined(short)))


def test_report_writes_a_page_and_a_table(evaluations: tuple[Path, Path], tmp_path: Path) -> None:
    weak, strong = evaluations
    out = tmp_path / "page"
    done = invoke("report", f"sft={weak}", f"wmss={strong}", "--out", out, "--wrong", "3")
    assert done.stdout == f"{out / 'report.html'}\n"
    table = (out / "report.md").read_text().splitlines()
    assert table[0] == "| method | sums | mean |"
    assert table[2].startswith("| sft | 0.0 (0.0 to ")
    assert table[3].startswith("| wmss | **83.3** (")
    page = (out / "report.html").read_text()
    assert page.count("<details>") == 3 + 2
    assert "eval.limit" in page
    # What a model writes is shown, not run.
    assert "0 + 0? &lt;b&gt;" in page
    assert "<script" not in page
    assert "http" not in page


@pytest.mark.slow
def test_a_browser_shows_the_page(evaluations: tuple[Path, Path], tmp_path: Path) -> None:
    chromium = shutil.which("chromium")
    if chromium is None:
        missing = "no Chromium; tests/install.sh installs it"
        if os.environ.get("WMSS_REQUIRE_CHROMIUM") == "1":
            pytest.fail(missing)
        pytest.skip(missing)
    weak, strong = evaluations
    invoke("report", f"sft={weak}", f"wmss={strong}", "--out", tmp_path / "page")
    page, picture = tmp_path / "page" / "report.html", tmp_path / "page.png"
    # As root, in a container, Chromium's own sandbox cannot start.
    browser = [chromium, "--headless", "--no-sandbox", "--disable-gpu", "--window-size=1000,800"]
    profile = f"--user-data-dir={tmp_path / 'profile'}"
    subprocess.run(
        [*browser, profile, f"--screenshot={picture}", page.as_uri()],
        check=True,
        capture_output=True,
        timeout=120,
    )
    shown = subprocess.run(
        [*browser, profile, "--dump-dom", page.as_uri()],
        check=True,
        capture_output=True,
        text=True,
        timeout=120,
    ).stdout
    pixels = plt.imread(picture)
    assert pixels.shape[:2] == (800, 1000)
    # The page is more than its background.
    assert len(np.unique(pixels.reshape(-1, pixels.shape[2]), axis=0)) > 20
    assert '<td class="best">83.3' in shown


def test_names_with_epochs_become_a_curve(evaluations: tuple[Path, Path], tmp_path: Path) -> None:
    weak, strong = evaluations
    invoke("report", f"wmss@1={weak}", f"wmss@2={strong}", "--out", tmp_path / "page")
    page = (tmp_path / "page" / "report.html").read_text()
    assert "data:image/png;base64," in page
    # The method itself is not there, so its epochs stand in the table.
    assert "<td>wmss@1</td>" in page

    invoke("report", f"wmss@1={weak}", f"wmss={strong}", "--out", tmp_path / "other")
    page = (tmp_path / "other" / "report.html").read_text()
    assert "<td>wmss@1</td>" not in page


def test_what_is_no_evaluation_is_one_line(evaluations: tuple[Path, Path], tmp_path: Path) -> None:
    weak, _ = evaluations
    line = error_of(invoke("report", tmp_path))
    assert "neither an evaluation nor a run with a report" in line
    odd = tmp_path / "lr=1"
    odd.symlink_to(weak)
    for reference in (str(odd), f"weak={odd}"):
        assert invoke("report", reference, "--out", tmp_path / "page").exit_code == 0
    assert "no such folder; give FOLDER, or NAME=FOLDER" in error_of(invoke("report", "=nowhere"))
    line = error_of(invoke("report", f"a={weak}", f"a={weak}"))
    assert "two evaluations are named a; name them: NAME=FOLDER" in line
