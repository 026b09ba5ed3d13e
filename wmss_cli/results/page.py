"""The report's files: one self-contained HTML page, Markdown, LaTeX tables, and JSON."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from wmss_cli.core.files import write_json, write_text
from wmss_cli.results import detail_tables, result_tables
from wmss_cli.results.conclusion import conclusion, missing_line
from wmss_cli.results.findings import Findings, Problem
from wmss_cli.results.plots import pictures
from wmss_cli.results.tables import Table, percent, to_latex, to_markdown

PAGE_FILE = "report.html"
MARKDOWN_FILE = "report.md"
RESULTS_FILE = "results.json"
TABLES_FOLDER = "tables"
_NOT_IN_HTML = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
"""Control characters, which a question or an answer may contain."""


def write_report(found: Findings, folder: Path) -> Path:
    """Write a report into a folder.

    Parameters
    ----------
    found : Findings
        The content of the report.
    folder : Path
        The folder for ``report.html``, ``report.md``, ``tables/NAME.tex``, and ``results.json``,
        which contains all findings except the answers' texts.

    Returns
    -------
    Path
        The path of the page.
    """
    (folder / TABLES_FOLDER).mkdir(parents=True, exist_ok=True)
    write_text(folder / PAGE_FILE, render_html(found))
    write_text(folder / MARKDOWN_FILE, render_markdown(found))
    for table in _all_tables(found):
        write_text(folder / TABLES_FOLDER / f"{table.name}.tex", to_latex(table))
    write_json(folder / RESULTS_FILE, found.model_dump(mode="json", exclude={"problems"}))
    return folder / PAGE_FILE


def render_html(found: Findings) -> str:
    """Return the page."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    drawn = {name: Markup(svg) for name, svg in pictures(found).items()}
    page = environment.get_template("page.html.j2").render(
        found=found,
        sentences=conclusion(found),
        missing=missing_line(found),
        pictures=drawn,
        tables={table.name: table for table in _all_tables(found)},
        named=[table.name for table in result_tables.tables(found)],
        options=detail_tables.differences(
            {arm.key: arm.options for arm in found.arms if arm.options}
        ),
        titles={task.name: task.title for task in found.tasks},
        anchor=result_tables.anchor,
        percent=percent,
        shown=_shown(found),
        first_shown=_first_shown(found),
    )
    return _NOT_IN_HTML.sub("\N{REPLACEMENT CHARACTER}", page)


def render_markdown(found: Findings) -> str:
    """Return the answer and all tables in Markdown."""
    parts = ["\n".join(["# " + title(found), "", *(f"{line}\n" for line in conclusion(found))])]
    if found.missing:
        parts.append(missing_line(found) + ".\n")
    parts += [to_markdown(table) for table in _all_tables(found)]
    return "\n".join(parts)


def title(found: Findings) -> str:
    """Return the title of the page."""
    models = ", ".join(name or path for name, path in found.study.models.items())
    count = len(found.study.arms)
    return f"{models}: {count} arm{'s' * (count > 1)}" if models else f"{count} arms"


def _all_tables(found: Findings) -> list[Table]:
    shown = result_tables.tables(found)
    # The page has these in any case, whatever `tables` names.
    every = [result_tables.methods, result_tables.differences, result_tables.logits]
    every += [detail_tables.costs, detail_tables.curricula, detail_tables.difficulty]
    every += [detail_tables.cut, detail_tables.several_answers]
    names = {table.name for table in shown}
    more = [table for table in (make(found) for make in every) if table.name not in names]
    return shown + [table for table in more if table.rows]


def _shown(found: Findings) -> dict[str, list[tuple[int, Problem]]]:
    """Return the problems of each task with their indices among all problems."""
    shown: dict[str, list[tuple[int, Problem]]] = {task.name: [] for task in found.tasks}
    for place, problem in enumerate(found.problems):
        shown[problem.task].append((place, problem))
    return shown


def _first_shown(found: Findings) -> dict[tuple[int, int], str]:
    """Return the anchor of the first shown answer of each arm to each task, by their indices."""
    return dict(_firsts(found))


def _firsts(found: Findings) -> Iterator[tuple[tuple[int, int], str]]:
    places = {task.name: place for place, task in enumerate(found.tasks)}
    seen = set()
    for number, problem in enumerate(found.problems):
        for one in problem.answers:
            key = (one.arm, places[problem.task])
            if key not in seen:
                seen.add(key)
                yield (number, one.arm), result_tables.anchor(*key)
