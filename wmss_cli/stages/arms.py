"""The arms of a configuration: rows of the catalogue, or made from them by what differs."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from wmss_cli.core.config import Config
from wmss_cli.core.errors import ConfigError
from wmss_cli.stages.arm_config import SECTIONS
from wmss_cli.stages.catalogue import CATALOGUE, OBJECTIVES, STEPS, Arm, Steps

_FIELDS = ("like", "start", "samples", "objective", "steps", "for")
_REFERENCES = ("sft", "continued_sft", "m1", "base")


def arms_of(config: Config) -> list[Arm]:
    """Return the arms of a configuration, in its order.

    Raises
    ------
    ConfigError
        If an arm does not exist or is named twice, `like` goes round in a circle, or an arm
        cannot be trained so.
    """
    given = config.arms
    if isinstance(given, list):
        twice = next((name for name in given if given.count(name) > 1), None)
        if twice is not None:
            raise ConfigError(f"arms: {twice} is named twice; remove one")
        given = dict.fromkeys(given)
    if not given:
        raise ConfigError("arms is empty; name at least one ('wmss arms' lists them)")
    found = [_resolve(name, given, ()) for name in given]
    for arm in found:
        _check(arm, given)
    return found


def reference_arm(config: Config, arms: Iterable[Arm]) -> str | None:
    """Return the arm that differences are taken from: as configured, or the most telling one.

    Raises
    ------
    ConfigError
        If `compare_with` names an arm that is not run.
    """
    names = [arm.name for arm in arms]
    if config.compare_with is not None:
        if config.compare_with not in names:
            raise ConfigError(
                f"compare_with: {config.compare_with} is not run; add it to arms, or name one of "
                f"{', '.join(names)}"
            )
        return config.compare_with
    if len(names) < 2:
        return None
    return next((name for name in _REFERENCES if name in names), names[0])


def arm_named(name: str, config: Config) -> Arm:
    """Return an arm by its name, whether it is run or only another one starts from it."""
    given = config.arms if isinstance(config.arms, dict) else {}
    return _resolve(name, given, ())


def _resolve(name: str, given: Mapping[str, Any], seen: tuple[str, ...]) -> Arm:
    """Return an arm of the configuration, or of the catalogue."""
    if name in seen:
        raise ConfigError(
            f"arms: {' is like '.join((*seen[seen.index(name) :], name))}; that is a circle"
        )
    if name not in given or (not given[name] and name not in CATALOGUE):
        return _known(name, given if name not in given else {})
    own = dict(_flat(given[name] or {}))
    like = own.pop("like", name if name in CATALOGUE else None)
    if like == name or (like is None and name in CATALOGUE):
        parent: Arm | None = _known(name, {})
    else:
        parent = None if like is None else _resolve(str(like), given, (*seen, name))
    values = {key: own.pop(key) for key in _FIELDS if key in own}
    if parent is None:
        missing = [key for key in ("start", "samples", "objective") if key not in values]
        if missing:
            close = _did_you_mean(name, CATALOGUE)
            raise ConfigError(
                f"arms: {name} is not in the catalogue{close}; an arm of your own says like: ARM, "
                f"or {', '.join(missing)} ('wmss arms' lists the catalogue)"
            )
        joint: Steps = "both" if values["start"] == "base" else "joint"
        parent = Arm(name, "", "all", "none", joint, "")
    elif not values and not own and parent.name == name:
        return parent
    return Arm(
        name=name,
        start=_one_of(name, "start", values.get("start", parent.start), None),
        samples=_one_of(name, "samples", values.get("samples", parent.samples), _SAMPLES),
        objective=_one_of(name, "objective", values.get("objective", parent.objective), OBJECTIVES),
        steps=_one_of(name, "steps", values.get("steps", parent.steps), STEPS),
        purpose=str(values.get("for", parent.purpose if parent.name == name else "")),
        like=parent.name or None if parent.name != name or values or own else None,
        overrides={**parent.overrides, **own},
    )


_SAMPLES = ("all", "active", "random", "-")


def _known(name: str, given: Mapping[str, Any]) -> Arm:
    if name not in CATALOGUE:
        close = _did_you_mean(name, {**CATALOGUE, **given})
        raise ConfigError(f"arms: there is no arm {name}{close} ('wmss arms' lists all)")
    return CATALOGUE[name]


def _one_of(arm: str, key: str, value: Any, allowed: Iterable[str] | None) -> Any:
    if not isinstance(value, str) or (allowed is not None and value not in allowed):
        names = ", ".join(allowed or ("base", "sft", "another arm"))
        raise ConfigError(f"arms: {arm}: {key} is {value!r}; it is one of {names}")
    return value


def _flat(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield dotted keys, whether they are written with dots or as mappings in mappings."""
    if not isinstance(value, Mapping):
        raise ConfigError(f"arms: expected 'key: value' lines below an arm, found {value!r}")
    for key, inner in value.items():
        if isinstance(inner, Mapping) and key in SECTIONS:
            yield from _flat(inner, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", inner


def _check(arm: Arm, given: Mapping[str, Any]) -> None:
    """Refuse what cannot be trained."""
    where = f"arms: {arm.name}"
    if arm.start not in ("base", "sft") and arm.start not in {**CATALOGUE, **given}:
        raise ConfigError(
            f"{where}: start is {arm.start}, which is no arm"
            f"{_did_you_mean(arm.start, {**CATALOGUE, **given})}"
        )
    seen = [arm.name]
    at = arm
    while at.start not in ("base", "sft"):
        if at.start in seen:
            raise ConfigError(f"{where}: starts from itself ({' from '.join((*seen, at.start))})")
        seen.append(at.start)
        at = _resolve(at.start, given, ())
    rule = arm.rule
    if arm.start == "base" and (arm.samples in ("active", "random") or rule.weak != "none"):
        what = "an active set" if arm.samples in ("active", "random") else "a weak model"
        raise ConfigError(f"{where}: {what} needs a checkpoint before it; start from sft")
    if arm.start == "base" and rule.stage == "extrapolate":
        raise ConfigError(f"{where}: extrapolation needs two checkpoints; start from sft")
    if (arm.samples == "-") != (rule.stage in ("", "extrapolate")):
        raise ConfigError(
            f"{where}: samples {arm.samples} and objective {arm.objective} exclude each other"
        )
    allowed = ("none", "first", "both") if arm.start == "base" else ("none", "joint", "flops")
    if arm.steps not in allowed:
        raise ConfigError(
            f"{where}: steps {arm.steps} do not go with start {arm.start}; there are "
            f"{', '.join(allowed)}"
        )
    if arm.steps == "flops" and (rule.stage != "sft" or arm.samples != "all"):
        raise ConfigError(f"{where}: steps flops is for plain training on all samples")


def _did_you_mean(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {close[0]}?" if close else ""
