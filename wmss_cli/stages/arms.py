"""The arms of a configuration: rows of the catalogue, or changed copies of them."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
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
        If an arm does not exist or is named twice, `like` goes in a circle, or an arm cannot be
        trained that way.
    """
    given = config.arms
    if isinstance(given, list):
        twice = next((name for name in given if given.count(name) > 1), None)
        if twice is not None:
            raise _wrong(f"{twice} is named twice; remove one")
        given = dict.fromkeys(given)
    if not given:
        raise ConfigError("arms is empty; name at least one ('wmss arms' lists them)", ("arms",))
    found = [_resolve(name, given, ()) for name in given]
    for arm in found:
        _check(arm, given)
    return found


def reference_arm(config: Config, arms: Iterable[Arm]) -> str | None:
    """Return the arm to compare with: as configured, or the most informative one.

    Raises
    ------
    ConfigError
        If `compare_with` names an arm that is not run.
    """
    names = [arm.name for arm in arms]
    if config.compare_with is not None:
        if config.compare_with not in names:
            close = _did_you_mean(config.compare_with, names)
            if not close or config.compare_with in CATALOGUE:
                close = f"; add it to arms, or name one of {', '.join(names)}"
            raise ConfigError(
                f"compare_with: {config.compare_with or repr('')} is not run{close}",
                ("compare_with",),
            )
        return config.compare_with
    if len(names) < 2:
        return None
    return next((name for name in _REFERENCES if name in names), names[0])


def arm_named(name: str, config: Config) -> Arm:
    """Return an arm by its name, whether it is run or another one only starts from it."""
    given = config.arms if isinstance(config.arms, dict) else {}
    return _resolve(name, given, ())


def _resolve(name: str, given: Mapping[str, Any], seen: tuple[str, ...]) -> Arm:
    """Return an arm of the configuration, or of the catalogue."""
    if name in seen:
        circle = " is like ".join((*seen[seen.index(name) :], name))
        raise _wrong(f"{circle}; that is a circle", name)
    if name not in given or (not given[name] and name not in CATALOGUE):
        return _known(name, given if name not in given else {})
    own = _flat(given[name] or {}, name)
    _refuse_unknown(name, own)
    like = own.pop("like", None)
    if like is None and name in CATALOGUE:
        like = name
    if like is not None and not isinstance(like, str):
        raise _wrong(f"{name}: like is {like!r}; it must name another arm", name, "like")
    if like == name:
        parent: Arm | None = _known(name, {})
    else:
        parent = None if like is None else _resolve(like, given, (*seen, name))
    values = {key: own.pop(key) for key in _FIELDS if key in own}
    if parent is None:
        missing = [key for key in ("start", "samples", "objective") if key not in values]
        if missing:
            close = _did_you_mean(name, CATALOGUE)
            raise _wrong(
                f"{name} is not in the catalogue{close}; an arm of your own says like: ARM, "
                f"or {', '.join(missing)} ('wmss arms' lists the catalogue)",
                name,
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
        raise _wrong(f"there is no arm {name}{close} ('wmss arms' lists all)", name)
    return CATALOGUE[name]


def _one_of(arm: str, key: str, value: Any, allowed: Iterable[str] | None) -> Any:
    if not isinstance(value, str) or (allowed is not None and value not in allowed):
        names = ", ".join(allowed or ("base", "sft", "another arm"))
        raise _wrong(f"{arm}: {key} is {value!r}; it is one of {names}", arm, key)
    return value


def _flat(value: Any, arm: str) -> dict[str, Any]:
    """Return dotted keys, whether they are written with dots or as mappings in mappings."""
    if not isinstance(value, Mapping):
        raise _wrong(f"{arm}: expected 'key: value' lines below an arm, found {value!r}", arm)
    flat: dict[str, Any] = {}
    for key, inner in value.items():
        if inner is None and key in SECTIONS:
            # It is empty.
            continue
        inside = isinstance(inner, Mapping) and key in SECTIONS
        named = {f"{key}.{name}": one for name, one in inner.items()} if inside else {key: inner}
        for dotted, one in named.items():
            if dotted in flat:
                raise _wrong(f"{arm}: {dotted} is given twice; remove one", arm)
            flat[str(dotted)] = one
    return flat


def _refuse_unknown(arm: str, own: Mapping[str, Any]) -> None:
    """Refuse a key that is neither a field of an arm nor one of the configuration's."""
    for key in own:
        if key in _FIELDS or key == "iterations" or "." in key:
            continue
        close = difflib.get_close_matches(key, [*_FIELDS, "iterations"], n=1)
        if close:
            raise _wrong(f"{arm}: there is no {key}; did you mean {close[0]}?", arm)


def _wrong(message: str, *key: str) -> ConfigError:
    return ConfigError(f"arms: {message}", ("arms", *key))


def _check(arm: Arm, given: Mapping[str, Any]) -> None:
    """Refuse what cannot be trained."""
    if arm.start not in ("base", "sft") and arm.start not in {**CATALOGUE, **given}:
        raise _wrong(
            f"{arm.name}: start is {arm.start}, which is not an arm"
            f"{_did_you_mean(arm.start, {**CATALOGUE, **given})}",
            arm.name,
        )
    seen = [arm.name]
    at = arm
    while at.start not in ("base", "sft"):
        if at.start in seen:
            raise _wrong(
                f"{arm.name}: starts from itself ({' from '.join((*seen, at.start))})", arm.name
            )
        seen.append(at.start)
        at = _resolve(at.start, given, ())
    rule = arm.rule
    if arm.start == "base" and (arm.samples in ("active", "random") or rule.weak != "none"):
        what = "an active set" if arm.samples in ("active", "random") else "a weak model"
        raise _wrong(f"{arm.name}: {what} needs a checkpoint before it; start from sft", arm.name)
    if arm.start == "base" and rule.stage == "extrapolate":
        raise _wrong(f"{arm.name}: extrapolation needs two checkpoints; start from sft", arm.name)
    if (arm.samples == "-") != (rule.stage in ("", "extrapolate")):
        raise _wrong(
            f"{arm.name}: samples {arm.samples} and objective {arm.objective} exclude each other",
            arm.name,
        )
    allowed = ("none", "first", "both") if arm.start == "base" else ("none", "joint", "flops")
    if arm.steps not in allowed:
        raise _wrong(
            f"{arm.name}: steps {arm.steps} do not go with start {arm.start}; choose from "
            f"{', '.join(allowed)}",
            arm.name,
        )
    if arm.steps == "flops" and (rule.stage != "sft" or arm.samples != "all"):
        raise _wrong(f"{arm.name}: steps flops is for plain training on all samples", arm.name)


def _did_you_mean(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {close[0]}?" if close else ""
