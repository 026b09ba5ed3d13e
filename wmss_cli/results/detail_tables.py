"""The tables behind the results: cost, curriculum, difficulty, cut answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wmss_cli.results.findings import Findings
from wmss_cli.results.result_tables import ALPHA, BETA, GAMMA
from wmss_cli.results.tables import NOTHING, Cell, Row, Table, decimal, percent, quantity


def costs(found: Findings) -> Table:
    """Return what the training of each arm costs, starting from the base model."""
    counted = any(arm.cost and arm.cost.flops is not None for arm in found.arms)
    devices = {arm.cost.device for arm in found.arms if arm.cost}
    hours = "GPU-hours" if devices == {"cuda"} else "process-hours"
    rows = []
    for arm in found.arms:
        if arm.cost is not None:
            flops = NOTHING if arm.cost.flops is None else Cell(quantity(arm.cost.flops))
            rows.append(
                Row(
                    arm.arm,
                    [
                        Cell(f"{arm.cost.steps:,.0f}"),
                        Cell(f"{arm.cost.tokens:,.0f}"),
                        *([flops] if counted else []),
                        Cell(quantity(arm.cost.device_hours)),
                    ],
                    arm.model,
                )
            )
    return Table(
        "cost",
        "Cost of training one seed, starting from the base model",
        "arm",
        ["steps", "tokens", *(["FLOPs"] if counted else []), hours],
        rows,
        "Sums over all trainings that lead to an arm; means over seeds. What several arms share is "
        "run only once. Scoring and evaluation are not included.",
    )


def curricula(found: Findings) -> Table:
    """Return the shares of the curriculum's terms, and how evenly it draws samples."""
    rows = []
    for arm in found.arms:
        own = arm.curriculum
        if own is not None:
            cells = [percent(share) for share in (own.alpha, own.beta, own.gamma)]
            cells += [f"{own.unique:,.0f} of {own.samples:,}", percent(own.effective / own.samples)]
            cells += [f"{own.entropy_weak:.3f}", f"{own.entropy_strong:.3f}"]
            rows.append(Row(arm.arm, [Cell(text) for text in cells], arm.model))
    terms = [f"{letter} term" for letter in (ALPHA, BETA, GAMMA)]
    return Table(
        "shares",
        "Shares of the curriculum's terms, in percent",
        "arm",
        [*terms, "different samples", "effective size, %", "mean H(weak)", "mean H(strong)"],
        rows,
        "Last iteration; means over seeds. The effective size is Kish's, in percent of all: "
        "100 % is an even draw. Entropies in nats per token.",
    )


def difficulty(found: Findings) -> Table:
    """Return the loss by quintile of H(weak) and by the sign of the entropy's change."""
    with_bins = [arm for arm in found.arms if arm.by_difficulty]
    every = [*with_bins[0].by_difficulty, *with_bins[0].by_change] if with_bins else []
    names = list(dict.fromkeys(one.name for one in every))
    rows = []
    for arm in with_bins:
        own = {one.name: one.loss for one in (*arm.by_difficulty, *arm.by_change)}
        cells = [Cell(decimal(own[name])) if name in own else NOTHING for name in names]
        rows.append(Row(arm.arm, cells, arm.model))
    counts = ", ".join(f"{one.name}: {one.samples}" for one in every)
    return Table(
        "difficulty",
        "Loss by difficulty, in nats per token",
        "arm",
        names,
        rows,
        "Quintiles of H(weak), and samples whose entropy fell or rose from the weak model to the "
        f"strong one. Means over samples and seeds. Samples: {counts}.",
    )


def cut(found: Findings) -> Table:
    """Return how many answers were cut at the limit, and the mean length of an answer."""
    rows = []
    for arm in found.arms:
        cells = []
        for task in found.tasks:
            own = arm.tasks.get(task.name)
            if own is None:
                cells.append(NOTHING)
            else:
                share = f"{percent(own.cut / own.answers)} %"
                cells.append(Cell(f"{own.cut:,} ({share})", f"{own.mean_tokens:,.0f} tokens"))
        if arm.tasks:
            rows.append(Row(arm.arm, cells, arm.model))
    return Table(
        "cut",
        "Answers that were cut at the limit",
        "arm",
        [task.title for task in found.tasks],
        rows,
        "Answers of all seeds, and the mean length of an answer in tokens.",
    )


def several_answers(found: Findings) -> Table:
    """Return pass@k and maj@k if there are several answers to each problem."""
    rows = []
    for arm in found.arms:
        for task in found.tasks:
            own = arm.tasks.get(task.name)
            if own is not None and own.pass_at_k:
                k = list(own.pass_at_k)[-1]
                values = [own.accuracy.mean, own.pass_at_k[k], own.majority_at_k[k]]
                cells = [Cell(task.title), Cell(k), *(Cell(percent(value)) for value in values)]
                rows.append(Row(arm.arm, cells, arm.model))
    return Table(
        "samples",
        "Several answers to each problem, in percent",
        "arm",
        ["benchmark", "n", "mean@n", "pass@n", "maj@n"],
        rows,
    )


def differences(options: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, str]]:
    """Return the options in which arms differ.

    Parameters
    ----------
    options : mapping
        The options of each arm, by arm and key.

    Returns
    -------
    dict
        The values by key and arm; a dash where an arm has no such option. An arm that was not
        trained has no training options, and does not count as different in them.
    """
    keys = dict.fromkeys(key for found in options.values() for key in found)
    trained = [found for found in options.values() if "training" in found]
    shown = {}
    for key in keys:
        concerned = options.values() if key.startswith("eval.") else trained
        if len({str(found.get(key, "-")) for found in concerned}) > 1:
            shown[key] = {arm: str(found.get(key, "-")) for arm, found in options.items()}
    return shown
