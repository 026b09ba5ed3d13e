"""The report for people: one HTML file that needs no other, and a table in Markdown."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import matplotlib
from jinja2 import Environment, FileSystemLoader, StrictUndefined

matplotlib.use("agg")

from matplotlib import pyplot as plt
from matplotlib.ticker import MaxNLocator


class Cell(Protocol):
    """What is shown of a method on a task; shares of 1."""

    @property
    def accuracy(self) -> float:
        """Share of right answers."""

    @property
    def low(self) -> float:
        """Lower end of its interval."""

    @property
    def high(self) -> float:
        """Upper end of its interval."""

    @property
    def is_best(self) -> bool:
        """Whether it is to be marked."""


def render_html(
    tasks: Sequence[str],
    cells: Mapping[str, Mapping[str, Cell]],
    means: Mapping[str, float],
    differences: Mapping[str, Mapping[str, str]],
    wrong: Mapping[str, Sequence[Mapping[str, Any]]],
    most: int,
    by_epoch: Mapping[str, Mapping[float, Mapping[str, Cell]]],
) -> str:
    """Return the page.

    Parameters
    ----------
    tasks : sequence of str
        The columns.
    cells : mapping
        By method and task.
    means : mapping of str to float
        By method.
    differences : mapping
        By option and method.
    wrong : mapping
        Wrong answers by method, as rows of ``generations.parquet``.
    most : int
        How many of a task there are at most.
    by_epoch : mapping
        Cells by method, epoch and task, where several epochs of a method are there.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html.j2").render(
        methods=list(cells),
        tasks=tasks,
        cells=cells,
        means=means,
        differences=differences,
        wrong=wrong,
        most=most,
        percent=_percent,
        curve=_curve(by_epoch),
    )


def render_markdown(
    tasks: Sequence[str], cells: Mapping[str, Mapping[str, Cell]], means: Mapping[str, float]
) -> str:
    """Return the table of accuracies in Markdown; the best is bold."""
    return "\n".join(_markdown_lines(tasks, cells, means)) + "\n"


def _markdown_lines(
    tasks: Sequence[str], cells: Mapping[str, Mapping[str, Cell]], means: Mapping[str, float]
) -> Iterator[str]:
    yield f"| method | {' | '.join(tasks)} | mean |"
    yield f"|{' --- |' * (len(tasks) + 2)}"
    for method, row in cells.items():
        mean = _percent(means[method]) if method in means else "-"
        shown = " | ".join(_markdown_cell(row.get(task)) for task in tasks)
        name = method.replace("|", "\\|")
        yield f"| {name} | {shown} | {mean} |"


def _markdown_cell(cell: Cell | None) -> str:
    if cell is None:
        return "-"
    accuracy = _percent(cell.accuracy)
    shown = f"**{accuracy}**" if cell.is_best else accuracy
    return f"{shown} ({_percent(cell.low)} to {_percent(cell.high)})"


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"


def _curve(by_epoch: Mapping[str, Mapping[float, Mapping[str, Cell]]]) -> str | None:
    """Return a PNG in base64, as Fig. 3 of the paper; None where there is nothing to draw."""
    rows = [row for epochs in by_epoch.values() for row in epochs.values()]
    if not rows:
        return None
    tasks = list(dict.fromkeys(task for row in rows for task in row))
    size = (4.2 * len(tasks), 3.4)
    figure, axes = plt.subplots(1, len(tasks), figsize=size, layout="constrained", squeeze=False)
    for axis, task in zip(axes[0], tasks, strict=True):
        for arm, epochs in by_epoch.items():
            points = [(at, epochs[at][task]) for at in sorted(epochs) if task in epochs[at]]
            at = [epoch for epoch, _ in points]
            accuracies = [100 * cell.accuracy for _, cell in points]
            below = [100 * (cell.accuracy - cell.low) for _, cell in points]
            above = [100 * (cell.high - cell.accuracy) for _, cell in points]
            axis.errorbar(at, accuracies, yerr=[below, above], marker="o", capsize=3, label=arm)
        axis.set_title(task, fontsize=10)
        axis.set_xlabel("epoch")
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.grid(alpha=0.3)
    axes[0][0].set_ylabel("accuracy (%)")
    axes[0][0].legend(frameon=False)
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=110)
    plt.close(figure)
    return base64.b64encode(picture.getvalue()).decode()
