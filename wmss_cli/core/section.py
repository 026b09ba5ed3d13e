"""What all sections of a configuration share: strict types, no unknown keys, an identity."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
NonNegative = Annotated[float, Field(ge=0.0)]
Positive = Annotated[float, Field(gt=0.0)]
Count = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0)]


def _as_text(given: Any) -> Any:
    """Return what YAML took for a date as it was written."""
    return given.isoformat() if type(given) is date else given


def _check_day(given: str) -> str:
    try:
        return date.fromisoformat(given).isoformat()
    except ValueError:
        raise ValueError(f"{given!r} is not a date; write it as 2024-07-26") from None


Day = Annotated[str, BeforeValidator(_as_text), AfterValidator(_check_day)]


class Section(BaseModel):
    """Base of all sections: frozen, strict, and without unknown keys."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True, allow_inf_nan=False
    )

    EXECUTION: ClassVar[frozenset[str]] = frozenset()
    """Fields that change how a stage runs but not what it makes; not in the fingerprint."""

    NEUTRAL: ClassVar[Mapping[str, Any]] = {}
    """Fields by the value at which they change nothing and are left out of the fingerprint.

    So a new option does not repeat finished work. It is never a plain default: if that changes, the
    fingerprint must change, too."""

    RULES: ClassVar[int | None] = None
    """Which rules the stage decides by, if no option says so; part of the fingerprint.

    Raised when a new version decides differently, so that no old result counts as a new one."""

    def unused(self) -> frozenset[str]:
        """Return the fields that have no effect, given the values of the others."""
        return frozenset()

    def identity(self) -> dict[str, Any]:
        """Return what decides the stage's result, for the fingerprint."""
        values = self.model_dump(mode="json", exclude={*self.EXECUTION, *self.unused()})
        decided = {
            name: value
            for name, value in values.items()
            if name not in self.NEUTRAL or value != self.NEUTRAL[name]
        }
        return decided if self.RULES is None else decided | {"rules": self.RULES}
