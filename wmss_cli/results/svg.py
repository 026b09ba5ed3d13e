"""Figures as SVG that fits into a page and takes the page's text colour and font."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib

matplotlib.use("agg")

from matplotlib import pyplot as plt
from matplotlib.figure import Figure

INK = "#010203"
"""Replaced by the colour of the page's text."""

COLORS = (
    "#3b82d6",
    "#e0702f",
    "#2f9e6b",
    "#c9508f",
    "#8b6fd6",
    "#b08a1f",
    "#2f9fb3",
    "#d04a4a",
    "#7c8a3a",
    "#8a7f78",
)
"""Readable on white and on black."""

FAINT = "#8a8f98"
"""For the background, and for what is no more than noise."""
_STYLE: dict[str, Any] = {
    "svg.fonttype": "none",
    "font.size": 10,
    "text.color": INK,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "legend.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "axes.unicode_minus": True,
    "grid.color": FAINT,
    "grid.alpha": 0.3,
}
WIDTH = 5.4
"""Largest width in inches that a phone shows in full."""

WIDE = 8.0
"""Width in inches of a figure that scrolls on a phone."""


@contextmanager
def figure_svg(
    name: str, height: float, width: float = WIDTH
) -> Iterator[tuple[Figure, list[str]]]:
    """Yield a figure, and a list that contains its SVG afterwards."""
    done: list[str] = []
    style: Any = _STYLE | {"svg.hashsalt": name}
    with plt.rc_context(style):
        figure = plt.figure(figsize=(width, height), layout="constrained")
        try:
            yield figure, done
            text = io.StringIO()
            figure.savefig(text, format="svg", transparent=True, dpi=160)
            done.append(_inline(text.getvalue(), name))
        finally:
            plt.close(figure)


def _inline(svg: str, name: str) -> str:
    """Return an SVG that a page can contain many of: no shared ids, nothing to load."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r' xmlns(:xlink)?="[^"]*"', "", svg)
    svg = svg.replace("xlink:href", "href").replace(INK, "currentColor")
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = re.sub(r'href="#', f'href="#{name}-', svg)
    svg = re.sub(r"url\(#", f"url(#{name}-", svg)
    svg = re.sub(r"<style.*?</style>", "", svg, flags=re.DOTALL)
    # The page's own font, so that numbers and names look like the text around them.
    svg = re.sub(r"font-family: [^;\"]+", "font-family: inherit", svg)
    # A hundredth of a point is finer than any screen.
    svg = re.sub(r"(\d\.\d{2})\d+", r"\1", svg)
    svg = re.sub(r"\s*\n\s*", " ", svg)
    width = re.search(r'width="([\d.]+)pt"', svg)
    style = f'style="min-width: {float(width[1]) * 0.95:.0f}px" ' if width else ""
    return svg.replace("<svg ", f'<svg {style}role="img" ', 1)
