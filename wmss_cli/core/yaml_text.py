"""Read YAML as version 1.2 defines it, and refuse what its versions read differently.

PyYAML reads version 1.1, in which ``010`` is 8, ``1:30`` is 90, ``no`` is false and ``1e-5`` is a
text. Here ``true`` and ``false`` alone are booleans, a number with a leading zero is an error, and
everything else that is not a number in version 1.2 is a text, dates too.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from wmss_cli.core.errors import ConfigError

_PREFIX = "tag:yaml.org,2002:"
_HINTS = (
    ("'\\t'", "use spaces, not tabs"),
    ("mapping values are not allowed", "check indentation, and quote a text that has ': ' in it"),
    ("end of stream", "a quote or a bracket is not closed"),
    ("undefined alias", "write &NAME at the value that *NAME refers to"),
    ("another document", "keep one document, without '---'"),
)


class _Loader(yaml.SafeLoader):
    """Loads YAML 1.2's core schema, with merge keys."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """Merge what ``<<`` names, and refuse a key that is given twice."""
        return {
            self.construct_object(pair.key, deep): self.construct_object(pair.value, deep)
            for pair in pairs(node)
        }

    def construct_number(self, node: yaml.ScalarNode) -> int:
        """Refuse a leading zero, which YAML 1.1 takes for octal and 1.2 does not."""
        text = str(self.construct_scalar(node))
        if text.startswith(("0o", "0x")):
            return int(text, 0)
        if re.match(r"[-+]?0\d", text):
            plain = int(text)
            raise yaml.constructor.ConstructorError(
                problem=f"{text} begins with 0, which some programs take for octal; "
                f"write {plain}, or quote it if it is a text"
            )
        return int(text)


for _tag, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?\d+|0o[0-7]+|0x[0-9a-fA-F]+", list("-+0123456789")),
    (
        "float",
        r"[-+]?(\.\d+|\d+(\.\d*)?)([eE][-+]?\d+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        list("-+0123456789."),
    ),
    ("merge", r"<<", ["<"]),
):
    _Loader.add_implicit_resolver(_PREFIX + _tag, re.compile(rf"(?:{_pattern})\Z", re.A), _first)
_Loader.add_constructor(f"{_PREFIX}int", _Loader.construct_number)


class Pair(NamedTuple):
    """A key of a mapping and its value; the line is where the key is written, from 1."""

    name: str
    key: yaml.Node
    value: yaml.Node

    @property
    def line(self) -> int:
        """Line of the key."""
        return self.key.start_mark.line + 1


def pairs(node: yaml.MappingNode) -> list[Pair]:
    """Return the keys and values of a mapping, with those that it takes over by ``<<``.

    Raises
    ------
    yaml.YAMLError
        If a key is given twice or is not a single value, or ``<<`` names no mapping.
    """
    return _pairs(node, ())


def _pairs(node: yaml.MappingNode, above: tuple[int, ...]) -> list[Pair]:
    if id(node) in above:
        raise _error("<< takes over the mapping that it is in; name another anchor", node)
    found: dict[str, Pair] = {}
    taken: list[Pair] = []
    for key, value in node.value:
        name = key.value
        if not isinstance(name, str):
            raise _error("a key has to be a single word; quote it", key)
        if name in found:
            raise _error(f"{name} is given twice; remove one", key)
        found[name] = Pair(name, key, value)
        if key.tag == f"{_PREFIX}merge":
            sources = value.value if isinstance(value, yaml.SequenceNode) else [value]
            for source in sources:
                if not isinstance(source, yaml.MappingNode):
                    raise _error("<< takes over a mapping; name its anchor, as in <<: *NAME", key)
                taken += _pairs(source, (*above, id(node)))
    own = [pair for pair in found.values() if pair.key.tag != f"{_PREFIX}merge"]
    for pair in taken:
        if pair.name not in found:
            found[pair.name] = pair
            own.append(pair)
    return own


def _error(problem: str, node: yaml.Node) -> yaml.YAMLError:
    return yaml.constructor.ConstructorError(problem=problem, problem_mark=node.start_mark)


def compose(file: Path) -> yaml.Node | None:
    """Return the node of a file's one document, None if there is none.

    Parameters
    ----------
    file : Path
        A text in UTF-8.

    Raises
    ------
    ConfigError
        If it cannot be read, or is not YAML.
    """
    try:
        text = file.read_text(encoding="utf-8-sig")
    except IsADirectoryError:
        raise ConfigError(f"{file}: this is a folder; name a YAML file") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{file}: not UTF-8 text; name a YAML file, saved as UTF-8") from None
    try:
        return yaml.compose(text, Loader=_Loader)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        character = f"U+{ord(text[error.position]):04X}"
        raise ConfigError(
            f"{file}:{line}: bad YAML: the character {character} is not allowed; remove it"
        ) from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{file}:{mark.line + 1}" if mark else str(file)
        problem = getattr(error, "problem", None) or "not YAML"
        raise ConfigError(f"{where}: bad YAML: {problem}; {_hint(str(error))}") from None
    except RecursionError:
        raise ConfigError(f"{file}: bad YAML: nested too deeply; remove brackets") from None


def _hint(complaint: str) -> str:
    fitting = (hint for sign, hint in _HINTS if sign in complaint)
    return next(fitting, "check indentation and colons")


def construct(node: yaml.Node) -> Any:
    """Return the value of a node.

    Raises
    ------
    ValueError
        If it has none; the message says why.
    """
    loader = _Loader("")
    try:
        return loader.construct_document(node)
    except yaml.YAMLError as error:
        raise ValueError(getattr(error, "problem", None) or str(error)) from None
    except RecursionError:
        raise ValueError("nested too deeply") from None
    finally:
        loader.dispose()


def parse(text: str) -> Any:
    """Return the value of a text in one line, of an option; nothing is the empty text.

    Raises
    ------
    ValueError
        If it is not YAML, or contains a comment, which would be lost.
    """
    if not text.strip():
        return ""
    try:
        node = yaml.compose(text, Loader=_Loader)
    except (yaml.YAMLError, RecursionError):
        raise ValueError("the value is not YAML; quote it") from None
    end = 0 if node is None else node.end_mark.index
    if node is None or text[end:].strip():
        raise ValueError("YAML takes what follows # for a comment; quote the value once more")
    return construct(node)


def is_empty(node: yaml.Node) -> bool:
    """Say whether nothing follows a key, or null."""
    return isinstance(node, yaml.ScalarNode) and node.tag == f"{_PREFIX}null"


def lines(node: yaml.Node) -> Iterator[tuple[str, int]]:
    """Yield the keys of a mapping with their lines; nothing for any other value."""
    if isinstance(node, yaml.MappingNode):
        yield from ((pair.name, pair.line) for pair in pairs(node))
