"""The data card: what a curated data set contains, and where it comes from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("agg")

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.ticker import LogFormatter
from numpy.typing import NDArray

CARD_FILE = "card.md"
LENGTHS_FILE = "lengths.png"

_BINS = 40
_TITLES = {"kind": "checked as", "source": "source"}
_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


def write_card(
    folder: Path, metrics: Mapping[str, Any], words: Mapping[int, int], prints: Mapping[str, str]
) -> None:
    """Write ``card.md`` and ``lengths.png``.

    Parameters
    ----------
    folder : Path
        The folder for the files.
    metrics : mapping
        The metrics of curate: counts by reason, by kind and by source.
    words : mapping of int to int
        Number of kept samples by their length in words, prompt and completion together.
    prints : mapping of str to str
        Fingerprints, by what they identify.
    """
    lengths = np.array(sorted(words))
    counts = np.array([words[length] for length in lengths.tolist()])
    plot_lengths(lengths, counts, "words", folder / LENGTHS_FILE)
    text = "\n".join(_lines(metrics, lengths, counts, prints)) + "\n"
    (folder / CARD_FILE).write_text(text, encoding="utf-8")


def plot_lengths(
    lengths: NDArray[np.int64],
    counts: NDArray[np.int64],
    unit: str,
    path: Path,
    limit: int | None = None,
) -> None:
    """Draw the distribution of sample lengths, and save it as PNG.

    Parameters
    ----------
    lengths, counts : ndarray of int
        ``[n]``: lengths in `unit`, and the number of samples of each.
    unit : str
        Unit of the lengths, such as ``words``.
    path : Path
        The path of the picture.
    limit : int, optional
        Length limit to mark in the picture.
    """
    figure, axis = plt.subplots(figsize=(7, 3.5), layout="constrained")
    low, high = max(1, int(lengths.min())), int(lengths.max()) + 1
    axis.hist(lengths, bins=np.geomspace(low, high, _BINS).tolist(), weights=counts)
    axis.set_xscale("log")
    for plain in (axis.xaxis.set_major_formatter, axis.xaxis.set_minor_formatter):
        plain(LogFormatter(minor_thresholds=(2.0, 0.5)))
    if limit is not None:
        axis.axvline(limit, color="tab:red", linestyle="--", label=f"limit: {limit:,}")
        axis.legend()
    axis.set_xlabel(f"{unit}, prompt and completion")
    axis.set_ylabel("samples")
    axis.grid(alpha=0.3)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def _lines(
    metrics: Mapping[str, Any],
    lengths: NDArray[np.int64],
    counts: NDArray[np.int64],
    prints: Mapping[str, str],
) -> Iterator[str]:
    yield "# Data card"
    yield ""
    yield f"{metrics['kept']:,} of {metrics['records']:,} records are kept."
    yield ""
    yield "| rejected because | records | share |"
    yield "| --- | --- | --- |"
    for reason, count in metrics["rejected"].items():
        yield f"| {reason} | {count:,} | {count / metrics['records']:.1%} |"
    yield ""
    yield "The first record that was rejected for each reason:"
    yield ""
    for reason in metrics["rejected"]:
        yield f"- {reason}: {' '.join(metrics['first_rejected'][reason].split())}"
    yield ""
    against = metrics["decontaminated_against"]
    yield f"Benchmark questions looked for: {', '.join(against) if against else 'none'}."
    yield ""
    if common := metrics.get("kept_with_common_phrase"):
        yield f"{common:,} records are kept that share only common phrases with them, such as:"
        yield ""
        yield from (f"- {phrase}" for phrase in metrics["common_phrases"])
        yield ""
    if metrics["sandbox"]:
        yield f"Programs were run in the sandbox: {', '.join(metrics['sandbox'])}."
        yield ""
    for title in ("kind", "source"):
        yield f"| {_TITLES[title]} | records | kept | share of what is kept |"
        yield "| --- | --- | --- | --- |"
        for name, count in metrics[f"by_{title}"].items():
            share = count["kept"] / metrics["kept"]
            shown = name.replace("|", "\\|") or "(none)"
            yield f"| {shown} | {count['total']:,} | {count['kept']:,} | {share:.1%} |"
        yield ""
    marks = np.searchsorted(counts.cumsum(), np.array(_QUANTILES) * counts.sum())
    shown = ", ".join(
        f"{length:,} ({share:.0%})"
        for length, share in zip(lengths[marks].tolist(), _QUANTILES, strict=True)
    )
    yield f"Words of a sample, prompt and completion (share that is not longer): {shown}."
    yield ""
    yield f"![lengths]({LENGTHS_FILE})"
    yield ""
    yield "| fingerprint of | |"
    yield "| --- | --- |"
    for name, fingerprint in prints.items():
        yield f"| {name} | `{fingerprint}` |"
