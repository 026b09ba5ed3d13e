"""Merge defaults, YAML, ``--set`` and options into one checked :class:`Config`.

Strongest first: command-line options, ``--set a.b=c``, the YAML file, the defaults.
Paths in a YAML file are relative to that file, paths on the command line to the current
folder. Every value remembers where it came from.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import yaml
from pydantic import BaseModel, ValidationError

from wmss_cli.core import yaml_text
from wmss_cli.core.config import Config
from wmss_cli.core.config_paths import anchored, expanded
from wmss_cli.core.errors import ConfigError

Key = tuple[str, ...]
# What other tools call an option.
_USUAL = {"lr": "learning_rate", "batch_size": "global_batch_size", "max_length": "max_seq_len"}


@dataclass(frozen=True)
class Resolved:
    """A checked configuration and the origin of each value.

    Attributes
    ----------
    config : Config
        The values.
    origins : Mapping[str, str]
        Dotted key to ``FILE:LINE``, ``--set``, an option, or ``default``.
    lines : Mapping
        The same for what was given, also for names within a value, such as ``("arms", "lam42")``.
    """

    config: Config
    origins: Mapping[str, str]
    lines: Mapping[Key, str]

    @contextmanager
    def located(self) -> Iterator[None]:
        """Say where the configuration has what an error inside is about, if the error knows."""
        try:
            yield
        except ConfigError as error:
            origin = _origin(error.key, self.lines)
            if origin == "default":
                raise
            raise ConfigError(f"{origin}: {error}") from None


class Sources:
    """Values for a model from several sources, the weaker ones added first.

    Parameters
    ----------
    root : type of BaseModel
        The model that the values will make.
    """

    def __init__(self, root: type[BaseModel]) -> None:
        self.root = root
        self.values: dict[Key, Any] = {}
        self.origins: dict[Key, str] = {}

    def add_file(self, file: Path, convert: Callable[[Key, Any], Any] = lambda _, v: v) -> None:
        """Take every value of a YAML file, through `convert`.

        Raises
        ------
        ConfigError
            If the file is missing, is not YAML, or has a key twice.
        """
        for key, value, line, inner in _read_yaml(file, self.root):
            origin = f"{file}:{line}"
            self.override(key, value, origin, convert)
            self.origins |= {(*key, name): f"{file}:{at}" for name, at in inner.items()}

    def add_assignments(
        self,
        flag: str,
        assignments: Sequence[str],
        convert: Callable[[Key, Any], Any] = lambda _, v: v,
    ) -> None:
        """Take ``KEY=VALUE`` texts of a repeated option; the value is read as YAML."""
        for assignment in assignments:
            key, value = _parse_assignment(flag, assignment)
            origin = f"{flag} {'.'.join(key)}"
            self.override(key, value, origin, convert)

    def override(
        self,
        key: Key,
        value: Any,
        origin: str,
        convert: Callable[[Key, Any], Any] = lambda _, v: v,
    ) -> None:
        """Take one value, or every value of a mapping if the key names a section."""
        if _model_at(key, self.root) is not None and isinstance(value, dict):
            for name, inner in value.items():
                self.override((*key, str(name)), inner, origin, convert)
            return
        try:
            value = convert(key, value)
        except ConfigError as error:
            raise ConfigError(f"{origin}: {'.'.join(key)}: {error}") from None
        for known in [known for known in self.origins if known[: len(key)] == key]:
            self.values.pop(known, None)
            del self.origins[known]
        for above in (key[:end] for end in range(1, len(key))):
            there = self.values.get(above, {})
            if not isinstance(there, dict):
                raise ConfigError(
                    f"{origin}: {'.'.join(above)} is {there!r} ({self.origins[above]}), which has "
                    f"no {key[len(above)]}; give {'.'.join(above)} as a whole"
                )
        self.values[key] = value
        self.origins[key] = origin

    def check(self) -> BaseModel:
        """Return the model.

        Raises
        ------
        ConfigError
            If a key is unknown or a value has the wrong type.
        """
        try:
            return self.root.model_validate(_nest(self.values))
        except ValidationError as error:
            raise ConfigError(_describe(error, self.origins, self.root)) from None


def resolve(
    file: Path | None = None,
    sets: Sequence[str] = (),
    options: Mapping[str, tuple[str, Any]] | None = None,
) -> Resolved:
    """Build the configuration from all its sources.

    Parameters
    ----------
    file : Path, optional
        A YAML file.
    sets : sequence of str
        Assignments such as ``sft.learning_rate=3e-5``; the value is read as YAML.
    options : mapping, optional
        Dotted key to (name of the command-line option, value).

    Returns
    -------
    Resolved

    Raises
    ------
    ConfigError
        If a file is missing, a key is unknown or a value has the wrong type.
    """
    sources = Sources(Config)
    if file is not None:
        folder = file.parent
        sources.add_file(file, lambda key, value: anchored(key, value, folder))
    sources.add_assignments("--set", sets, expanded)
    for dotted, (name, value) in (options or {}).items():
        sources.override(tuple(dotted.split(".")), value, name, expanded)
    _refuse_two_seeds(sources.values, sources.origins)
    _spread_seed(sources.values, sources.origins)
    config = cast(Config, sources.check())
    origins = {k: _origin(tuple(k.split(".")), sources.origins) for k in flatten(config)}
    return Resolved(config, origins, sources.origins)


def flatten(model: BaseModel, prefix: str = "") -> dict[str, Any]:
    """Return every leaf of a configuration by its dotted key, in the order of the models."""
    leaves: dict[str, Any] = {}
    for name in type(model).model_fields:
        value = getattr(model, name)
        if isinstance(value, BaseModel):
            leaves |= flatten(value, f"{prefix}{name}.")
        else:
            leaves[prefix + name] = value
    return leaves


def _read_yaml(file: Path, root: type[BaseModel]) -> Iterator[tuple[Key, Any, int, dict[str, int]]]:
    """Yield the key, value and line of each leaf, and the lines of what is in a mapping."""
    try:
        node = yaml_text.compose(file)
    except FileNotFoundError:
        what = "configuration file" if root is Config else "profile"
        raise ConfigError(f"{file}: no such {what}; 'wmss init' writes examples") from None
    if node is None or yaml_text.is_empty(node):
        return
    if not isinstance(node, yaml.MappingNode):
        raise ConfigError(f"{file}:1: expected 'key: value' lines")
    yield from _leaves(node, (), file, root)


def _leaves(
    node: yaml.MappingNode, prefix: Key, file: Path, root: type[BaseModel]
) -> Iterator[tuple[Key, Any, int, dict[str, int]]]:
    for name, line, value_node in _pairs(node, prefix, file):
        key = (*prefix, name)
        is_section = _model_at(key, root) is not None
        if is_section and isinstance(value_node, yaml.MappingNode):
            yield from _leaves(value_node, key, file, root)
        elif not (yaml_text.is_empty(value_node) and (is_section or _holds_many(key, root))):
            with _bad_value(f"{file}:{line}: {'.'.join(key)}"):
                inner = dict(yaml_text.lines(value_node))
                value = yaml_text.construct(value_node)
            yield key, value, line, inner


def _pairs(node: yaml.MappingNode, prefix: Key, file: Path) -> Iterator[tuple[str, int, yaml.Node]]:
    """Yield the keys of a section, except those that only carry an anchor, ``x-…``."""
    try:
        found = yaml_text.pairs(node)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ConfigError(f"{file}:{line}: {'.'.join((*prefix, str(error.problem)))}") from None
    for pair in found:
        if prefix or not pair.name.startswith("x-"):
            yield pair.name, pair.line, pair.value


@contextmanager
def _bad_value(where: str) -> Iterator[None]:
    try:
        yield
    except (yaml.YAMLError, ValueError) as error:
        problem = getattr(error, "problem", None) or str(error)
        advice = "" if ";" in problem else "; fix or quote it"
        raise ConfigError(f"{where}: bad YAML value: {problem}{advice}") from None


def _holds_many(key: Key, root: type[BaseModel]) -> bool:
    """Say whether a key is a list or a mapping, which may be given empty."""
    field = (_model_at(key[:-1], root) or root).model_fields.get(key[-1])
    return field is not None and isinstance(
        field.get_default(call_default_factory=True), list | dict
    )


def _model_at(key: Key, root: type[BaseModel]) -> type[BaseModel] | None:
    """Return the section that a key names, or None if it names a leaf or nothing."""
    model = root
    for name in key:
        field = model.model_fields.get(name)
        if field is None or not isinstance(field.annotation, type):
            return None
        if not issubclass(field.annotation, BaseModel):
            return None
        model = field.annotation
    return model


def _parse_assignment(flag: str, assignment: str) -> tuple[Key, Any]:
    dotted, equals, text = assignment.partition("=")
    if not equals or not dotted.strip():
        example = "sft.learning_rate=3e-5" if flag == "--set" else "train.nodes=2"
        raise ConfigError(f"{flag} {assignment}: expected KEY=VALUE, as in {example}")
    try:
        value = yaml_text.parse(text)
    except ValueError as error:
        raise ConfigError(f"{flag} {assignment}: {error}") from None
    return tuple(dotted.strip().split(".")), value


def _spread_seed(values: dict[Key, Any], origins: dict[Key, str]) -> None:
    if ("seed",) not in values:
        return
    for name, field in Config.model_fields.items():
        section = field.annotation
        if isinstance(section, type) and issubclass(section, BaseModel):
            key = (name, "seed")
            if "seed" in section.model_fields and key not in values:
                values[key] = values["seed",]
                origins[key] = origins["seed",]


def _refuse_two_seeds(values: dict[Key, Any], origins: dict[Key, str]) -> None:
    """Refuse a section's own seed if the study gives the seeds."""
    if not values.get(("seeds",)):
        return
    for section in ("sft", "curriculum", "joint", "eval"):
        if (section, "seed") in values:
            raise ConfigError(
                f"{origins[section, 'seed']}: {section}.seed and seeds exclude each other; "
                "remove one"
            )


def _nest(values: Mapping[Key, Any]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for key, value in values.items():
        node = tree
        for depth, name in enumerate(key[:-1], start=1):
            node = node.setdefault(name, {})
            if not isinstance(node, dict):
                break
            # An arm may write the same option with dots.
            node.pop(".".join(key[depth:]), None)
        else:
            node[key[-1]] = value
    return tree


def _origin(key: Key, origins: Mapping[Key, str]) -> str:
    while key:
        if key in origins:
            return origins[key]
        key = key[:-1]
    return "default"


def _describe(error: ValidationError, origins: Mapping[Key, str], root: type[BaseModel]) -> str:
    """Say in one line what is wrong, where, and what would be right."""
    first = error.errors(include_url=False)[0]
    key = tuple(str(part) for part in first["loc"])
    dotted, origin = ".".join(key), _origin(key, origins)
    if origin == "default" or _model_at(key, root) is not None:
        origin = _of_several(key, str(first["msg"]), origins) or origin
    if first["type"] == "extra_forbidden":
        return f"{origin}: unknown key {dotted}{_did_you_mean(key, root)}"
    message = str(first["msg"])
    # A message of wmss itself may begin with a name, such as HF_TOKEN.
    own = message.startswith("Value error, ")
    message = message.removeprefix("Value error, ") if own else message[0].lower() + message[1:]
    given = first.get("input")
    value = "" if own or isinstance(given, BaseModel | dict) else f" (given: {given!r})"
    message = f"{message}{value}{_advice(first['type'], given)}"
    return ": ".join(part for part in (origin, dotted, message) if part)


def _advice(wrong: str, given: Any) -> str:
    """Say how to write what was written as in an older YAML, or without quotes."""
    if wrong == "model_type":
        return "; write 'key: value' lines below it, with a space after each colon"
    if wrong.startswith("bool") and str(given).lower() in ("yes", "no", "on", "off", "y", "n"):
        return "; write true or false"
    if wrong.startswith("int") and isinstance(given, float) and given.is_integer():
        return f"; write {given:.0f}"
    if wrong.startswith(("int", "float")) and re.fullmatch(r"[-+]?\d[\d_:.,]*", str(given)):
        return "; write a number in digits alone, without quotes" if isinstance(given, str) else ""
    if wrong != "string_type":
        return ""
    if given is None:
        return "; a single ~ is null in YAML, and an empty text is ''"
    is_mapping = isinstance(given, dict)
    return "; quote a text that has ': ' in it" if is_mapping else "; quote it if it is a text"


def _of_several(key: Key, message: str, origins: Mapping[Key, str]) -> str | None:
    """Return the origin of the section's value that a message names first, else of any."""
    size = len(key)
    inside = {k[size]: at for k, at in origins.items() if k[:size] == key and len(k) > size}
    named = [word for word in re.findall(r"\w+", message) if word in inside]
    return next((inside[name] for name in (*named, *inside)), None)


def _did_you_mean(key: Key, root: type[BaseModel]) -> str:
    section = _model_at(key[:-1], root) or root
    usual = _USUAL.get(key[-1], "")
    close = (
        [usual]
        if usual in section.model_fields
        else difflib.get_close_matches(key[-1], section.model_fields, n=1)
    )
    if close:
        return f"; did you mean {'.'.join((*key[:-1], close[0]))}?"
    everywhere = list(flatten(root()))
    elsewhere = [dotted for dotted in everywhere if dotted.split(".")[-1] == key[-1]]
    elsewhere = elsewhere or difflib.get_close_matches(".".join(key), everywhere, n=1)
    if elsewhere:
        return f"; did you mean {elsewhere[0]}?"
    if root is not Config:
        return f"; there are {', '.join(section.model_fields)}"
    return "; 'wmss config show' lists all keys"
