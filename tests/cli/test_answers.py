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


def write_evaluation(folder: Path, verdicts: Sequence[bool], **options: Any) -> Path:
    """Write an artifact of eval: the answers to a task of as many problems."""
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
    job = Job("eval", config.model_dump(mode="json"), config.identity(), {}, str(folder))
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
