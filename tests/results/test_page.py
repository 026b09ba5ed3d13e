"""The page: self-contained, safe, bounded in size; and the files beside it."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from results.example_study import arm, write_study

from wmss_cli.results.artifacts import Sources
from wmss_cli.results.collect import collect
from wmss_cli.results.conclusion import conclusion
from wmss_cli.results.findings import Findings, Task
from wmss_cli.results.page import render_html, render_markdown, write_report

MOST_BYTES = 3_000_000


class Reader(HTMLParser):
    """Collects ids and what the page links to, and checks that tags are closed."""

    VOID = ("meta", "link", "br", "img", "input", "use", "path", "image", "rect")

    def __init__(self) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            if name in ("href", "src"):
                self.links.append(value or "")
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag, self.getpos()


@pytest.fixture(scope="module")
def page(found: Findings) -> str:
    return render_html(found)


def test_everything_is_on_the_page(found: Findings, page: str) -> None:
    for heading in ("Results", "Training", "Samples", "Logits", "Answers", "Configuration"):
        assert f"<h2>{heading}</h2>" in page
    for name in ("methods", "ablation", "curriculum", "lambda", "epochs", "logits", "differences"):
        assert f'id="table-{name}"' in page
    for name in ("cost", "shares", "difficulty", "cut"):
        assert f'id="table-{name}"' in page
    assert page.count("<svg") == 9
    assert "wmss run study.yaml" in page
    # The answer is first.
    assert page.index(conclusion(found)[0]) < page.index("<svg") < page.index("<table")


def test_ids_are_unique_and_links_end_somewhere(page: str) -> None:
    reader = Reader()
    reader.feed(page)
    assert reader.open == []
    assert len(set(reader.ids)) == len(reader.ids)
    inside = [link.removeprefix("#") for link in reader.links if link.startswith("#")]
    assert set(inside) <= set(reader.ids)
    assert "a4-t0" in inside
    # Whatever else is loaded is in the page itself.
    assert all(link.startswith(("#", "data:")) for link in reader.links)
    assert "http" not in page


def test_what_a_model_writes_is_shown_and_not_run(page: str) -> None:
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert page.count("<script") == 1
    assert "What is &lt;b&gt;0&lt;/b&gt; + 0?" in page


def test_the_files_beside_the_page(found: Findings, tmp_path: Path) -> None:
    assert write_report(found, tmp_path) == tmp_path / "report.html"
    names = {path.stem for path in (tmp_path / "tables").glob("*.tex")}
    assert {"methods", "ablation", "curriculum", "lambda", "epochs", "logits", "cost"} <= names
    results = json.loads((tmp_path / "results.json").read_text())
    assert "problems" not in results
    assert Findings.model_validate(results) == found.model_copy(update={"problems": []})
    markdown = (tmp_path / "report.md").read_text()
    assert markdown == render_markdown(found)
    assert conclusion(found)[0] in markdown


def test_a_study_of_which_nothing_is_done_is_a_page(found: Findings, tmp_path: Path) -> None:
    nowhere = {label: tmp_path / label for label in found.study.labels()}
    empty = collect(Sources(found.study, nowhere), [])
    page = render_html(empty)
    assert "No arm has been evaluated yet." in page
    assert page.count("<td>not begun</td>") == len(found.study.labels())


@pytest.mark.slow
def test_the_largest_study_fits_three_megabytes(tmp_path: Path) -> None:
    """Texts fill their budget, as those of 1,319 problems would; names and numbers are as long."""
    arms = [arm("sft", "base", "all", purpose="Table 1")]
    arms += [arm(f"quite_long_name_{i}", samples="all") for i in range(19)]
    tasks = {f"task{i}": 30 for i in range(9)}
    long = "Let me think & compute: 1 < 2. " * 100 + "\\boxed{%d}"
    study, paths = write_study(tmp_path, arms, (0, 1, 2), tasks, text=long)
    kinds = [Task(name=name, title=f"Benchmark {name}") for name in tasks]
    found = collect(Sources(study, paths), kinds)
    page = render_html(found)
    size = len(page.encode())
    assert size <= MOST_BYTES
    # The texts are cut to the budget, and not to nothing.
    assert size >= MOST_BYTES // 2
    assert len(found.problems) >= 2 * len(tasks)
    shown = re.findall(r"\d+ of 270 problems are shown", page)
    assert len(shown) == 1
