"""JSON as it is in data sets: one value, or many in one text, read one by one.

What the library accepts silently is reported: a key that is given twice (it keeps the last) and
``Infinity``. ``NaN`` is null: it is how pandas writes a missing value.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any

_CHUNK_CHARS = 2**20
_LONGEST_CHARS = 2**28
_NUMBER_GOES_ON = re.compile(r"[0-9](\Z|[0-9.eE+-])")
_SPACE = re.compile(r"[ \t\r\n]*")


@dataclass(frozen=True)
class Broken:
    """Stands for a value that cannot be read."""

    problem: str


class Parser:
    """Reads values.

    Parameters
    ----------
    as_text : bool
        Whether numbers are texts, so that 27.0 and 1e-7 stay as they are written.
    """

    def __init__(self, as_text: bool = False) -> None:
        self._odd: list[str] = []
        numbers: dict[str, Any] = {"parse_int": str, "parse_float": str} if as_text else {}
        self._decoder = json.JSONDecoder(
            object_pairs_hook=self._object, parse_constant=self._constant, **numbers
        )

    def _object(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            keys = [key for key, _ in pairs]
            twice = next(key for key in keys if keys.count(key) > 1)
            self._odd.append(f"the key {twice!r} is given twice")
        return found

    def _constant(self, name: str) -> None:
        if name != "NaN":
            self._odd.append(f"not JSON: {name} is not a number")

    def parse(self, text: str) -> Any:
        """Return the value of a text, or :class:`Broken`."""
        self._odd.clear()
        try:
            value = self._decoder.decode(text)
        except json.JSONDecodeError as error:
            return Broken(f"not JSON: {error.msg} at column {error.colno}")
        except RecursionError:
            return Broken("not JSON that can be read: nested too deeply")
        except ValueError as error:
            # An integer with more digits than Python accepts.
            return Broken(f"not JSON that can be read: {error}")
        return Broken(self._odd[0]) if self._odd else value

    def values(self, text: IO[str]) -> Iterator[Any]:
        """Yield the elements of an array, or values that follow one another, in bounded memory.

        Raises
        ------
        ValueError
            If the text is not JSON, or ends within a value: what follows is then unknown.
        """
        window = _Window(text)
        in_array = window.skip_space() == "["
        if in_array:
            window.at += 1
        while (sign := window.skip_space()) and sign != "]":
            yield self._next(window)
            if in_array and window.skip_space() == ",":
                window.at += 1
                if window.skip_space() == "]":
                    raise ValueError("a comma with nothing after it")
            elif in_array and window.skip_space() != "]":
                raise ValueError("expected a comma or the end of the list")
        if in_array:
            if not sign:
                raise ValueError("the list does not end")
            window.at += 1
            sign = window.skip_space()
        if sign:
            raise ValueError("something follows the end")

    def _next(self, window: _Window) -> Any:
        while True:
            self._odd.clear()
            try:
                value, end = self._decoder.raw_decode(window.text, window.at)
            except json.JSONDecodeError as error:
                if not window.more():
                    raise ValueError(error.msg) from None
            except RecursionError:
                raise ValueError("nested too deeply") from None
            else:
                # The window may end within a number.
                if not _NUMBER_GOES_ON.match(window.text, end - 1) or not window.more():
                    window.at = end
                    return Broken(self._odd[0]) if self._odd else value


class _Window:
    """The part of a long text that is being read."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self.text = ""
        self.at = 0

    def more(self) -> bool:
        """Read as much again as has been read; say whether there was more."""
        if len(self.text) - self.at > _LONGEST_CHARS:
            return False
        added = self._stream.read(max(_CHUNK_CHARS, len(self.text) - self.at))
        self.text = self.text[self.at :] + added
        self.at = 0
        return bool(added)

    def skip_space(self) -> str:
        """Go to the next character that is not a space, and return it; empty at the end."""
        while True:
            match = _SPACE.match(self.text, self.at)
            assert match is not None
            self.at = match.end()
            if self.at < len(self.text):
                return self.text[self.at]
            if not self.more():
                return ""
