"""The plot of a bench: the seconds of each way."""

from __future__ import annotations

from pathlib import Path

from wmss_cli.bench.results import BenchResults


def plot_results(results: BenchResults, path: Path) -> None:
    """Draw a panel for each table, with a bar for each way, and save the plot.

    Parameters
    ----------
    results : BenchResults
        Results of at least one bench.
    path : Path
        Where to save it; the file extension determines the format.
    """
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot as plt

    benches = results.parts
    rows = [max(2, len(bench.entries)) for bench in benches]
    figure, axes = plt.subplots(
        len(benches),
        1,
        figsize=(9, sum(0.55 * n + 0.9 for n in rows)),
        height_ratios=rows,
        layout="constrained",
        squeeze=False,
    )
    for axis, bench in zip(axes[:, 0], benches, strict=True):
        timed = [(e.name, e.seconds) for e in bench.entries if e.seconds is not None]
        names = [name for name, _ in timed]
        medians = [s.median for _, s in timed]
        errors = [[s.median - s.low for _, s in timed], [s.high - s.median for _, s in timed]]
        colors = ["C0" if name.startswith("wmss") else "C7" for name in names]
        axis.barh(names, medians, xerr=errors, color=colors, height=0.6, capsize=3)
        axis.invert_yaxis()
        axis.set_title(bench.title, fontsize=9, loc="left")
        axis.set_xlabel("seconds: median, lowest and highest", fontsize=8)
    figure.savefig(path, dpi=150)
    plt.close(figure)
