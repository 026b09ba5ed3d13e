"""The part of a study that a command is about: what an arm, a seed or a base model needs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeVar

from wmss_cli.core.errors import ConfigError


@dataclass(frozen=True)
class Selection:
    """What is selected of a study; None means all.

    Attributes
    ----------
    arm, model : str or None
        Name of the arm, or of the base model.
    seed : int or None
        One of the study's.
    """

    arm: str | None = None
    seed: int | None = None
    model: str | None = None

    @property
    def is_whole(self) -> bool:
        """Whether nothing is selected."""
        return self == WHOLE


WHOLE = Selection()

_T = TypeVar("_T", str, int)


def check_known(name: str, value: _T, known: Iterable[_T]) -> None:
    """Refuse an arm, a seed or a model that the study does not have.

    Raises
    ------
    ConfigError
        It lists what the study has.
    """
    listed = sorted(known)
    if value not in listed:
        has = ", ".join(map(str, listed)) or f"no {name}s"
        raise ConfigError(f"--{name} {value}: the study has {has}")
