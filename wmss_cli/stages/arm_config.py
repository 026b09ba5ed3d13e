"""The options of an arm's stages: the study's with the arm's changes, checked at once."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any, cast

from pydantic import ValidationError

from wmss_cli.core.config import Config, JointConfig, Section, SftConfig, TrainConfig
from wmss_cli.core.errors import ConfigError
from wmss_cli.stages.catalogue import Arm

SECTIONS = ("sft", "curriculum", "joint", "extrapolate")
"""Sections in which arms may differ; `iterations` is the only other key."""

_SAID_OTHERWISE = {
    "sft.match_flops": "steps: flops",
    "sft.objective": "objective: OBJECTIVE",
    "joint.weak_logits": "objective: OBJECTIVE",
}
"""Options that are fields of an arm, and how to write them there."""


def config_of(arm: Arm, config: Config) -> Config:
    """Return the configuration with an arm's overrides, checked as if they were in the file.

    Raises
    ------
    ConfigError
        If a key does not exist, or a value is not valid.
    """
    sections: dict[str, dict[str, Any]] = {}
    for key, value in arm.overrides.items():
        section, _, name = key.partition(".")
        if key == "iterations":
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise _wrong(arm, "iterations has to be a whole number of at least 1", key)
            config = config.model_copy(update={"iterations": value})
        elif section not in SECTIONS or not name:
            raise _wrong(
                arm,
                f"{key}: arms differ in iterations and in the options of "
                f"{', '.join(SECTIONS)} only{_meant(key, config)}",
                key,
            )
        elif name == "seed":
            raise _wrong(arm, f"{key}: seeds belong to the study; list them in seeds", key)
        elif key in _SAID_OTHERWISE:
            raise _wrong(arm, f"{key}: in an arm, write {_SAID_OTHERWISE[key]} instead", key)
        else:
            sections.setdefault(section, {})[name] = value
    if "joint" in sections and arm.rule.stage == "joint_train":
        # Checked together with what the objective sets, such as weak_mode.
        sections["joint"] = {**arm.rule.options, **sections["joint"]}
    changed = {
        section: derive(getattr(config, section), values, arm, section)
        for section, values in sections.items()
    }
    return config.model_copy(update=changed)


def derive(section: Section, values: Mapping[str, Any], arm: Arm, called: str) -> Any:
    """Return a section with other values, checked.

    Parameters
    ----------
    section : Section
        The study's section.
    values : mapping
        New values, by option.
    arm : Arm
        The arm whose values they are.
    called : str
        Name of the section in the configuration.

    Raises
    ------
    ConfigError
        If a value is not valid, alone or together with the others.
    """
    known = type(section).model_fields
    for name in values:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            meant = f"; did you mean {close[0]}?" if close else ""
            raise _wrong(arm, f"{called}.{name}: no such option{meant}", f"{called}.{name}")
    try:
        return type(section).model_validate(section.model_dump() | dict(values))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = ".".join(str(part) for part in first["loc"])
        message = str(first["msg"])
        own = message.removeprefix("Value error, ")
        message = own if own != message else message[0].lower() + message[1:]
        given = f" (given: {first['input']!r})" if name else ""
        dotted = f"{called}.{name}" if name else called
        raise _wrong(arm, f"{dotted}: {message}{given}", dotted) from None


def _wrong(arm: Arm, message: str, key: str = "") -> ConfigError:
    return ConfigError(f"arm {arm.name}: {message}", ("arms", arm.name, *key.split(".")))


def own_options() -> list[str]:
    """Return the options that say what plain training minimises: an arm's own, never M1's."""
    return [
        name
        for name in SftConfig.model_fields
        if name not in TrainConfig.model_fields and name != "match_flops"
    ]


def training_section(arm: Arm, config: Config) -> SftConfig | JointConfig:
    """Return the options that an arm is trained with, checked.

    Parameters
    ----------
    arm : Arm
        One that is trained.
    config : Config
        With the arm's overrides (:func:`config_of`).

    Raises
    ------
    ConfigError
        If they exclude each other.
    """
    joint, multiplier = config.joint, config.curriculum.multiplier
    given = {
        key.partition(".")[2]: value
        for key, value in arm.overrides.items()
        if key.startswith("joint.")
    }
    if arm.rule.stage == "joint_train":
        values = {**arm.rule.options, **given}
        if arm.samples == "all":
            values["epochs"] = joint.epochs * multiplier
        section: JointConfig = derive(joint, values, arm, "joint")
        trained = section.weak_mode == "cotrain" and section.weak_logits == "model"
        if section.next_weak == "cotrained" and config.iterations > 1 and not trained:
            raise _wrong(
                arm,
                "joint.next_weak cotrained needs a weak model that is trained; "
                "set joint.weak_mode cotrain, or next_weak previous_strong",
            )
        return section
    own = {name: getattr(config.sft, name) for name in own_options()} | dict(arm.rule.options)
    own |= {
        key.partition(".")[2]: value
        for key, value in arm.overrides.items()
        if key.partition(".")[2] in own_options()
    }
    if arm.start == "base":
        length = _both_phases(arm, config) if arm.steps == "both" else {}
        return cast(SftConfig, derive(config.sft, {**own, **length}, arm, "sft"))
    shared = {name: getattr(joint, name) for name in TrainConfig.model_fields}
    if arm.steps == "flops":
        if config.iterations > 1:
            raise _wrong(
                arm,
                "the FLOPs of several iterations are not known before they have run; set "
                "iterations: 1 for it",
            )
        # Only the active set tells where its epochs end.
        length = {"match_flops": joint.weak_mode, "keep_epochs": False}
    elif arm.samples == "all":
        # All samples once are len(D); the active set is multiplier * len(D): equal steps.
        rounds = config.iterations
        length = {"epochs": joint.epochs * multiplier * rounds}
        if joint.max_steps is not None:
            length["max_steps"] = joint.max_steps * rounds
    else:
        length = {}
    return cast(SftConfig, derive(SftConfig(), {**shared, **own, **length}, arm, "sft"))


def _both_phases(arm: Arm, config: Config) -> dict[str, Any]:
    """Return how long a single training in place of both phases lasts."""
    sft, joint, rounds = config.sft, config.joint, config.iterations
    if (sft.max_steps is None) != (joint.max_steps is None):
        raise _wrong(
            arm, "takes the steps of both phases; set max_steps in sft and in joint, or in neither"
        )
    epochs = sft.epochs + joint.epochs * config.curriculum.multiplier * rounds
    if sft.max_steps is None or joint.max_steps is None:
        return {"epochs": epochs}
    return {"epochs": epochs, "max_steps": sft.max_steps + joint.max_steps * rounds}


def _meant(key: str, config: Config) -> str:
    everywhere = [
        f"{section}.{name}"
        for section in SECTIONS
        for name in type(getattr(config, section)).model_fields
    ]
    tail = key.rsplit(".", 1)[-1]
    same = [dotted for dotted in everywhere if dotted.split(".")[1] == tail]
    close = same or difflib.get_close_matches(key, everywhere, n=1)
    return f"; did you mean {close[0]}?" if close else ""
