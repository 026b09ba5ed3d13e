"""wmss compare and wmss report on evaluations that are there."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import error_of, invoke
from matplotlib import pyplot as plt
from results.example_study import ARMS, write_study
from rich.console import Console

from wmss_cli.cli import tables
from wmss_cli.core.artifact import Job, open_draft
from wmss_cli.core.config import EvalConfig
from wmss_cli.core.schema import GENERATION, write_parquet
from wmss_cli.results.findings import Findings
from wmss_cli.results.summary import summarize
from wmss_cli.stages.report import write


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
    assert "named twice; name each evaluation once" in line
    again = write_arm(tmp_path / "again", (0,), 7)
    line = error_of(invoke("compare", joined([weak[0], *again]), joined(strong)))
    assert "both have seed 0; give each seed once" in line
    line = error_of(invoke("compare", weak[0], joined(strong)))
    assert "one training, with seed 0, against 2 on the other side" in line
    short = [write_evaluation(tmp_path / f"short-{i}", [True] * 5) for i in range(2)]
    assert "15 problems are in one only" in error_of(invoke("compare", joined(weak), joined(short)))


def test_report_writes_a_page_and_tables(evaluations: tuple[Path, Path], tmp_path: Path) -> None:
    weak, strong = evaluations
    out = tmp_path / "page"
    done = invoke("report", f"sft={weak}", f"wmss={strong}", "--out", out, "--examples", "3")
    assert done.stdout == f"{out / 'report.html'}\n"
    markdown = (out / "report.md").read_text()
    assert "wmss is better than sft by 83.3 points" in markdown
    assert "There is one seed" in markdown
    assert "| wmss | 83.3 \N{UPWARDS ARROW} (" in markdown
    page = (out / "report.html").read_text()
    assert page.count('<details class="problem"') == 3
    assert "eval.limit" in page
    # What a model writes is shown, not run.
    assert "0? &lt;b&gt;" in page or "+ 1? &lt;b&gt;" in page
    assert "http" not in page
    assert r"\toprule" in (out / "tables" / "methods.tex").read_text()
    results = json.loads((out / "results.json").read_text())
    assert [arm["arm"] for arm in results["arms"]] == ["sft", "wmss"]


def test_report_takes_several_seeds_of_an_arm(tmp_path: Path) -> None:
    folders = [
        write_evaluation(tmp_path / f"e{i}", [problem % 4 < right for problem in range(40)])
        for i, right in enumerate((1, 1, 3, 4))
    ]
    first, second = (",".join(map(str, folders[i : i + 2])) for i in (0, 2))
    out = tmp_path / "page"
    invoke("report", f"sft={first}", f"wmss={second}", "--out", out)
    gap = json.loads((out / "results.json").read_text())["arms"][1]["gap"]
    assert (gap["seeds"], gap["seeds_won"], gap["covers_seeds"]) == (2, 2, True)
    assert gap["mean"] == pytest.approx((0.5 + 0.75) / 2)


def test_report_of_a_run_reads_what_there_is(tmp_path: Path) -> None:
    write_study(tmp_path / "run", arms=[ARMS[0], *ARMS[2:4]], seeds=(0,))
    shutil.rmtree(tmp_path / "run" / "eval-ceda-s0")
    out = tmp_path / "page"
    assert invoke("report", tmp_path / "run", "--out", out).exit_code == 0
    page = (out / "report.html").read_text()
    assert "HumanEval" in page
    assert "wmss run study.yaml" in page
    assert "1 of 11 steps have no result (1 not begun): eval-ceda-s0" in page
    # What is finished of a run can stand beside other evaluations.
    other = write_evaluation(tmp_path / "other", [True] * 12)
    done = invoke("report", f"mine={other}", f"run={tmp_path / 'run'}", "--out", out)
    assert done.exit_code == 0
    names = [arm["arm"] for arm in json.loads((out / "results.json").read_text())["arms"]]
    assert names == ["mine", "run/base", "run/sft"]


@pytest.fixture
def chromium() -> str:
    """Name the browser; without one the test is skipped, or fails if there must be one."""
    found = shutil.which("chromium")
    if found is None:
        missing = "no Chromium; tests/install.sh installs it"
        if os.environ.get("WMSS_REQUIRE_CHROMIUM") == "1":
            pytest.fail(missing)
        pytest.skip(missing)
    return found


PROBE = """<script>
const errors = [];
addEventListener("error", (event) => errors.push(String(event.message)));
addEventListener("load", () => setTimeout(() => {
  const root = document.documentElement;
  parent.postMessage(JSON.stringify({
    width: innerWidth,
    scroll: root.scrollWidth,
    errors,
    loaded: performance.getEntriesByType("resource").map((one) => one.name)
      .filter((name) => !name.startsWith("data:")),
    counted: (document.getElementById("count") || {}).textContent,
    target: (document.querySelector("details.answer[open]") || {}).id,
  }), "*");
}, 200));
</script>"""

FRAME = """<!doctype html><body style="margin: 0">
<iframe src="%s" style="width: %dpx; height: 900px; border: 0"></iframe>
<script>addEventListener("message", (event) => { document.body.dataset.seen = event.data; });
</script>"""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the page of a study with all that a page can have."""
    folder = tmp_path_factory.mktemp("whole")
    write_study(folder / "run", arms=ARMS, seeds=(0, 1), text=f"{'long' * 200} %d")
    invoke("report", folder / "run", "--out", folder)
    return (folder / "report.html").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("width", [400, 1600])
def test_a_browser_shows_the_page(chromium: str, whole: str, tmp_path: Path, width: int) -> None:
    """In a frame, since a window is never narrower than 500 pixels."""
    (tmp_path / "probed.html").write_text(whole.replace("<style>", PROBE + "<style>", 1))
    frame, picture = tmp_path / "frame.html", tmp_path / "page.png"
    frame.write_text(FRAME % ("probed.html#a5-t1", width))
    # As root, in a container, Chromium's own sandbox cannot start.
    browser = [chromium, "--headless", "--no-sandbox", "--disable-gpu"]
    browser += ["--hide-scrollbars", f"--window-size={max(width, 500)},900"]
    browser += [f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=4000"]
    shown = subprocess.run(
        [*browser, f"--screenshot={picture}", "--dump-dom", frame.as_uri()],
        check=True,
        capture_output=True,
        text=True,
        timeout=240,
    ).stdout
    told = re.search(r'data-seen="([^"]*)"', shown)
    assert told is not None, shown
    seen = json.loads(unescape(told[1]))
    assert seen["width"] == width
    # Wide tables scroll in their own boxes.
    assert seen["scroll"] <= width
    assert seen["errors"] == []
    assert seen["loaded"] == []
    # The link of an accuracy filters the answers, and opens the first.
    assert seen["target"] == "a5-t1"
    assert seen["counted"] == "20 of 40 problems fit."
    pixels = plt.imread(picture)
    # The page is more than its background.
    assert len(np.unique(pixels.reshape(-1, pixels.shape[2]), axis=0)) > 20


def test_names_with_epochs_are_epochs_of_an_arm(
    evaluations: tuple[Path, Path], tmp_path: Path
) -> None:
    weak, strong = evaluations
    invoke("report", f"wmss@1={weak}", f"wmss={strong}", "--out", tmp_path / "page")
    page = (tmp_path / "page" / "report.html").read_text()
    assert "<th>wmss, 1</th>" in page
    # The arm itself is not there, so its epochs are arms.
    invoke("report", f"wmss@1={weak}", f"wmss@2={strong}", "--out", tmp_path / "other")
    page = (tmp_path / "other" / "report.html").read_text()
    assert "<th>wmss@1</th>" in page


@pytest.mark.parametrize("sets", [("sums",), ("sums", "gsm8k", *(f"task{i}" for i in range(7)))])
def test_the_table_at_the_end_of_a_run_fits_a_terminal(
    sets: tuple[str, ...], tmp_path: Path
) -> None:
    arms = [ARMS[0], *ARMS[2:4]]
    study, paths = write_study(tmp_path, arms=arms, seeds=(0, 1), tasks=dict.fromkeys(sets, 20))
    shutil.rmtree(paths["eval-ceda-s1"])
    write(study, {label: str(path) for label, path in paths.items()}, tmp_path / "report")
    results = Findings.model_validate_json((tmp_path / "report" / "results.json").read_text())
    console = Console(width=80, file=io.StringIO(), record=True)
    console.print(tables.results(results))
    text = console.export_text()
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text
    page, missing = tables.places(results, Path("runs/study/report-0123456789"))
    assert page == "page  runs/study/report-0123456789/report.html"
    assert "1 of 19 steps have no result" in missing
    assert "0/2" in text
    assert all(name in text for name in sets[2:])
    assert ("GSM8K" in text) == ("gsm8k" in sets)


def test_what_is_no_evaluation_is_one_line(evaluations: tuple[Path, Path], tmp_path: Path) -> None:
    weak, _ = evaluations
    line = error_of(invoke("report", tmp_path))
    assert "neither an evaluation nor a run (no study.json)" in line
    odd = tmp_path / "lr=1"
    odd.symlink_to(weak)
    for reference in (str(odd), f"weak={odd}"):
        assert invoke("report", reference, "--out", tmp_path / "page").exit_code == 0
    assert "no such folder; give FOLDER, or NAME=FOLDER" in error_of(invoke("report", "=nowhere"))
    line = error_of(invoke("report", f"a={weak}", f"a={weak}"))
    assert line.endswith("named twice; name each evaluation once")
