"""The tables of results: the paper's, and the differences from the reference."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from wmss_cli.results.findings import ArmResult, Findings, Interval
from wmss_cli.results.published import paper
from wmss_cli.results.tables import (
    NOTHING,
    Cell,
    Row,
    Table,
    accuracy,
    decimal,
    mark_of,
    p_value,
    points,
)

ALPHA, BETA, GAMMA, LAMBDA = (
    "\N{GREEK SMALL LETTER ALPHA}",
    "\N{GREEK SMALL LETTER BETA}",
    "\N{GREEK SMALL LETTER GAMMA}",
    "\N{GREEK SMALL LETTER LAMDA}",
)
_TICK = Cell("\N{CHECK MARK}")
_EMPTY = Cell("")
_WEIGHTS = ("curriculum.alpha", "curriculum.beta", "curriculum.gamma")
_MIX = "joint.mix_lambda"
_ABLATION = ("m1", "sft", "continued_sft", "ceda", "jtws", "wmss")

NAMES = ("methods", "paper", "ablation", "curriculum", "lambda", "epochs", "logits")
"""What `tables` of a configuration may name."""


def tables(found: Findings) -> list[Table]:
    """Return those of the study's tables that have something to show."""
    shown = [_BY_NAME[name](found) for name in found.study.tables if name in _BY_NAME]
    return [table for table in shown if table.rows]


def methods(found: Findings) -> Table:
    """Return arms by benchmarks, with averages over mathematics and code (Table 1)."""
    columns = _columns(found)
    return Table(
        name="methods",
        title="Accuracy by arm and benchmark, in percent",
        head="arm",
        columns=[title for title, _ in columns],
        rows=[
            Row(
                arm.arm,
                [cell(place, arm) for _, cell in columns],
                arm.model,
                arm.arm == found.reference,
            )
            for place, arm in enumerate(found.arms)
        ],
        note=_accuracy_note(found),
    )


def differences(found: Findings) -> Table:
    """Return each arm's difference from the reference, by benchmark."""
    several = len(found.tasks) > 1
    return Table(
        name="differences",
        title=f"Difference from {found.reference} by benchmark, in points",
        head="arm",
        columns=[*(task.title for task in found.tasks), *(["mean"] if several else [])],
        rows=[
            Row(
                arm.arm,
                [
                    *(_gap(arm, task.name) for task in found.tasks),
                    *([_gap(arm)] if several else []),
                ],
                arm.model,
            )
            for arm in found.arms
            if arm.gap is not None or any(score.gap for score in arm.tasks.values())
        ],
        note="Paired by problem and seed, with 95 % intervals and p. The p of a benchmark is "
        "corrected by Holm's method for all arms and benchmarks, the p of the mean for all arms.",
    )


def ablation(found: Findings) -> Table:
    """Return what each part of the method contributes (Table 3)."""
    columns = _columns(found)
    rows = []
    for place, arm in enumerate(found.arms):
        if root(found, arm.arm) not in _ABLATION:
            continue
        told = next(one for one in found.study.arms if one.name == arm.arm)
        ticks = (told.samples == "active", root(found, arm.arm) in ("jtws", "wmss"))
        cells = [_TICK if tick else _EMPTY for tick in ticks]
        if arm.arm in _ABLATION:
            rows.append(Row(arm.arm, [*cells, *(c(place, arm) for _, c in columns)], arm.model))
    return Table(
        "ablation",
        "Ablation: curriculum and mixed logits, in percent",
        "arm",
        ["curriculum", "mixed logits", *(title for title, _ in columns)],
        rows,
        _accuracy_note(found),
    )


def curriculum(found: Findings) -> Table:
    """Return the accuracy by the curriculum's weights (Table 4)."""
    arms = sweep(found, _WEIGHTS)
    columns = _columns(found)
    return Table(
        "curriculum",
        f"Weights of the curriculum {ALPHA}, {BETA}, {GAMMA}, in percent",
        "arm",
        [ALPHA, BETA, GAMMA, *(title for title, _ in columns)],
        [
            Row(
                arm.arm,
                [*_weights(arm), *(cell(found.arms.index(arm), arm) for _, cell in columns)],
                arm.model,
            )
            for arm in arms
        ],
        _accuracy_note(found),
    )


def mix_lambda(found: Findings) -> Table:
    """Return the accuracy by lambda (Table 5), with lambda_cross beside the best one."""
    arms = [arm for arm in sweep(found, (_MIX,)) if arm.mix_lambda is not None]
    arms.sort(key=lambda arm: (found.models.index(arm.model), arm.mix_lambda))
    columns = _columns(found)
    return Table(
        "lambda",
        f"Accuracy by {LAMBDA}, in percent",
        LAMBDA,
        ["arm", *(title for title, _ in columns)],
        [
            Row(
                f"{arm.mix_lambda:g}",
                [Cell(arm.arm), *(cell(found.arms.index(arm), arm) for _, cell in columns)],
                arm.model,
            )
            for arm in arms
        ],
        " ".join([*_best_lambda(found, arms), _accuracy_note(found)]),
    )


def epochs(found: Findings) -> Table:
    """Return the accuracy by epoch of training (Fig. 3)."""
    rows = []
    for arm in found.arms:
        final = {name: score.accuracy for name, score in arm.tasks.items()}
        if arm.epochs:
            rows += [
                Row(f"{arm.arm}, {name}", _of_tasks(found, own), arm.model)
                for name, own in arm.epochs.items()
            ]
            rows.append(Row(f"{arm.arm}, end", _of_tasks(found, final), arm.model))
    return Table(
        "epochs",
        "Accuracy by epoch, in percent",
        "arm, epoch",
        [task.title for task in found.tasks],
        rows,
        "Ranges: 95 % intervals.",
    )


def logits(found: Findings) -> Table:
    """Return the statistics of logits by arm (Tables 2 and 6), with lambda_cross."""
    names = list(dict.fromkeys(name for arm in found.arms for name in arm.logits))
    rows = []
    for arm in found.arms:
        for which, own in (("", arm.logits), (" (weak)", arm.weak_logits)):
            if own:
                cross = crossing(arm.logits, arm.weak_logits) if not which else None
                cells = [Cell(decimal(own[name])) if name in own else NOTHING for name in names]
                cells.append(NOTHING if cross is None else Cell(f"{cross:.3f}"))
                rows.append(Row(f"{arm.arm}{which}", cells, arm.model))
    return Table(
        "logits",
        "Statistics of the logits over completion tokens, after training",
        "model",
        [*names, f"{LAMBDA}_cross"],
        rows,
        f"Means over seeds. {LAMBDA}_cross = 1 / (1 + r), with r the centred norm of the strong "
        "model's logits over that of the weak model's: where both add equally to the mix.",
    )


def root(found: Findings, name: str) -> str:
    """Return the arm of the catalogue that an arm is based on."""
    arms = {arm.name: arm for arm in found.study.arms}
    seen = {name}
    while name in arms and arms[name].like is not None and arms[name].like not in seen:
        name = arms[name].like or name
        seen.add(name)
    return name


def sweep(found: Findings, keys: Sequence[str]) -> list[ArmResult]:
    """Return the arms that differ from another arm in these options only, and that arm."""
    own = {arm.name: arm for arm in found.study.arms}
    members = [arm for arm in own.values() if arm.overrides and arm.overrides.keys() <= set(keys)]
    names = {arm.name for arm in members} | {arm.like for arm in members}
    return [arm for arm in found.arms if arm.arm in names] if members else []


def crossing(strong: dict[str, float], weak: dict[str, float]) -> float | None:
    """Return the lambda at which both models add equally to the mixed logits (Appendix C)."""
    if "centred_norm" not in strong or "centred_norm" not in weak:
        return None
    return 1.0 / (1.0 + strong["centred_norm"] / weak["centred_norm"])


def anchor(place: int, task: int) -> str:
    """Return the page's anchor for the answers of an arm to a task, both given by index."""
    return f"a{place}-t{task}"


def _columns(found: Findings) -> list[tuple[str, Callable[[int, ArmResult], Cell]]]:
    """Return titles and cells: the tasks of each kind, their mean, and the mean over all tasks."""
    shown = {(answer.arm, problem.task) for problem in found.problems for answer in problem.answers}
    kinds = list(dict.fromkeys(task.kind for task in found.tasks))
    columns: list[tuple[str, Callable[[int, ArmResult], Cell]]] = []

    def of_task(name: str, number: int) -> Callable[[int, ArmResult], Cell]:
        def cell(place: int, arm: ArmResult) -> Cell:
            score = arm.tasks.get(name)
            link = anchor(place, number) if (place, name) in shown else ""
            return NOTHING if score is None else accuracy(score.accuracy, score.gap, link)

        return cell

    def of_kind(kind: str) -> Callable[[int, ArmResult], Cell]:
        return lambda place, arm: accuracy(arm.kinds.get(kind))  # noqa: ARG005

    for kind in kinds:
        for number, task in enumerate(found.tasks):
            if task.kind == kind:
                columns.append((task.title, of_task(task.name, number)))
        if len(kinds) > 1 and sum(task.kind == kind for task in found.tasks) > 1:
            columns.append((f"{kind}, mean", of_kind(kind)))
    if len(found.tasks) > 1:
        columns.append(("mean", lambda place, arm: accuracy(arm.mean, arm.gap)))  # noqa: ARG005
    return columns


def _of_tasks(found: Findings, own: dict[str, Interval]) -> list[Cell]:
    return [accuracy(own.get(task.name)) for task in found.tasks]


def _gap(arm: ArmResult, task: str | None = None) -> Cell:
    own = arm.gap if task is None else arm.tasks[task].gap if task in arm.tasks else None
    if own is None:
        return NOTHING
    small = f"{points(own.low)} to {points(own.high)}; p {p_value(own.corrected)}"
    return Cell(points(own.mean), small, mark_of(own))


def _weights(arm: ArmResult) -> list[Cell]:
    options = {} if arm.curriculum is None else arm.curriculum.options
    return [
        Cell(f"{options[name]:g}") if name in options else NOTHING
        for name in ("alpha", "beta", "gamma")
    ]


def _best_lambda(found: Findings, arms: Sequence[ArmResult]) -> Iterator[str]:
    for model in found.models:
        own = [arm for arm in arms if arm.model == model and arm.mean is not None]
        if not own:
            continue
        best = max(own, key=lambda arm: arm.mean.mean if arm.mean else 0.0)
        logits_of = {arm.arm: arm.logits for arm in found.of_model(model)}
        crossings = {
            # Second phases start from M1, with M0 as the weak model.
            "before": crossing(logits_of.get("m1", {}), logits_of.get("base", {})),
            "after": crossing(best.logits, best.weak_logits),
        }
        told = [f"{model}: " if model else "", f"best {LAMBDA}: {best.mix_lambda:g}"]
        told += [
            f"; {LAMBDA}_cross {when} joint training: {cross:.3f}"
            for when, cross in crossings.items()
            if cross is not None
        ]
        yield "".join(told) + "."


def _accuracy_note(found: Findings) -> str:
    seeds = max((len(arm.seeds) for arm in found.arms), default=0)
    covers = "problems and seeds" if seeds > 1 else "problems, not seeds (there is one)"
    against = (
        f" An arrow marks what differs from {found.reference} by more than noise (p < 0.05, "
        "corrected by Holm's method for all arms and benchmarks; of the mean for all arms)."
        if found.comparisons
        else ""
    )
    return f"Ranges: 95 % intervals over {covers}.{against}"


_BY_NAME: dict[str, Callable[[Findings], Table]] = {
    "methods": methods,
    "paper": paper,
    "ablation": ablation,
    "curriculum": curriculum,
    "lambda": mix_lambda,
    "epochs": epochs,
    "logits": logits,
}
assert tuple(_BY_NAME) == NAMES
