"""What a study says, in sentences."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from wmss_cli.results.findings import ArmResult, Findings, Gap
from wmss_cli.results.tables import SIGNIFICANT, p_value, percent, points


def conclusion(found: Findings) -> list[str]:
    """Return the conclusion: which arms differ from the reference by more than noise.

    Returns
    -------
    list of str
        Whole sentences: a paragraph for each base model, then what it does not cover.
    """
    return [*_answers(found), *_limits(found)]


def missing_line(found: Findings) -> str:
    """Say in one line which steps have no result yet; empty if all have one."""
    if not found.missing:
        return ""
    counts = {
        state: sum(one.state == state for one in found.missing)
        for state in ("failed", "unfinished", "not begun")
    }
    told = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    first = ", ".join(one.label for one in found.missing[:3])
    more = ", …" if len(found.missing) > 3 else ""
    total = len(found.study.labels())
    return f"{len(found.missing)} of {total} steps have no result ({told}): {first}{more}"


def _answers(found: Findings) -> Iterator[str]:
    if not any(arm.tasks for arm in found.arms):
        yield "No arm has been evaluated yet."
        return
    if found.reference is None:
        yield "No arm to compare with is named (compare_with), so differences are not judged."
        return
    for model in found.models:
        told = f"{model}: " if model else ""
        arms = found.of_model(model)
        compared = [arm for arm in arms if arm.gap is not None]
        if not compared:
            yield f"{told}No arm can be compared with {found.reference} yet."
            continue
        real = [arm for arm in compared if arm.gap and arm.gap.corrected < SIGNIFICANT]
        real.sort(key=lambda arm: -arm.gap.mean if arm.gap else 0.0)
        for arm in real:
            assert arm.gap is not None
            yield told + _difference(arm, arm.gap, found)
        rest = [arm for arm in compared if arm not in real]
        left_out = [
            arm.arm for arm in arms if arm.tasks and arm.gap is None and arm.arm != found.reference
        ]
        if rest:
            yield told + _no_difference(rest, bool(real), bool(left_out), found)
        if left_out:
            yield (
                f"{told}Not compared with {found.reference}: {', '.join(left_out)} (no seed in "
                "common with it, or not all benchmarks)."
            )


def _difference(arm: ArmResult, gap: Gap, found: Findings) -> str:
    which = "better" if gap.mean > 0 else "worse"
    size = points(abs(gap.mean)).lstrip("+")
    seeds = ""
    if gap.covers_seeds:
        won = gap.seeds_won if gap.mean > 0 else gap.seeds_lost
        seeds = f", {which} with {won} of {gap.seeds} seeds"
    return (
        f"{arm.arm} is {which} than {found.reference} by {size} points (95 % interval "
        f"{points(gap.low)} to {points(gap.high)}, p {_p(gap.corrected)} after Holm's correction "
        f"for {found.comparisons} comparison{'s' * (found.comparisons > 1)}{seeds})."
    )


def _no_difference(rest: Sequence[ArmResult], others: bool, left_out: bool, found: Findings) -> str:
    gaps = [arm.gap for arm in rest if arm.gap is not None]
    least, most = (pick(gap.detectable for gap in gaps) for pick in (min, max))
    sizes = percent(least)
    if percent(most) != sizes:
        sizes += f" to {percent(most)}"
    names = ", ".join(arm.arm for arm in rest)
    # "No arm" is said only if it is true of all arms.
    if left_out and len(rest) > 1:
        who = f"None of {names} differs from {found.reference} by more than noise"
    elif len(rest) == 1 and (others or left_out):
        who = f"{names} does not differ from {found.reference} by more than noise"
    else:
        other = "other " if others else ""
        who = f"No {other}arm differs from {found.reference} by more than noise"
    return (
        f"{who}; the smallest difference that this study could have found is {sizes} points "
        "(with 80 % power, before correction)."
    )


def _limits(found: Findings) -> Iterator[str]:
    gaps = [arm.gap for arm in found.arms if arm.gap is not None]
    single = [gap for gap in gaps if not gap.covers_seeds]
    if single and len(single) == len(gaps):
        yield (
            "There is one seed: intervals and tests cover the problems, "
            "but not the variation between seeds."
        )
    elif single:
        names = [arm.arm for arm in found.arms if arm.gap and not arm.gap.covers_seeds]
        yield f"Seeds are not covered for {', '.join(names)}: each shares only one seed with it."
    partial = [arm.key for arm in found.arms if 0 < len(arm.seeds) < arm.planned]
    none = [arm.key for arm in found.arms if not arm.seeds]
    if partial:
        yield f"Not all seeds have been evaluated yet for {', '.join(partial)}."
    if none and len(none) < len(found.arms):
        yield f"No result yet for {', '.join(none)}."


def _p(p: float) -> str:
    shown = p_value(p)
    return shown if shown.startswith("<") else f"= {shown}"
