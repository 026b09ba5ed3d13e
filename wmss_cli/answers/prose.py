"""Which value in a text is its answer: the one that its last sentence leads to."""

from __future__ import annotations

import re
from functools import cached_property
from typing import NamedTuple

from wmss_cli.answers.number import CURRENCY, exact_value
from wmss_cli.answers.scan import Value, values

_BREAK = re.compile(r"[.!?][\"')\]]*\s+(?=[^a-z\s])|\n+")
# Between two values of a list; the last two are joined by a word, unless all are marked.
_JOINED = re.compile(r"\s*(?:,|;|&|\b(?:and|or|und|et|y|e)\b|和|或|と|및|以及|\s)+\s*")
_JOINING_WORD = re.compile(r"\b(?:and|or|und|et|y|e)\b|和|或|と|및|以及|&")
_LIST_END = re.compile(r"\s*(?:[.,;!?。]|\Z|\n|\b(?:since|because|so|as|where)\b)")
_INTRODUCED = re.compile(r"(?:\b(?:is|are|be|equals?)|[:=是为為])\s*\Z")
# "$x$ is $5$", "2 to 3": the value is not all of the answer.
_IS = re.compile(r"\s*(?:is|are|equals?|where|with)\b")
_GOES_ON = re.compile(
    r"\s*(?:(?:to|through|bis|至|到|[-–~])\s*\\?[$(]?\s*[\d\\.]"  # noqa: RUF001
    r"|(?:times|plus|minus|divided\s+by|multiplied\s+by|over)\s+\\?[$(]?\s*[-\d\\.]"
    r"|(?:factorial|squared|cubed)\b)"
)
_PERCENT_OF = re.compile(r"\s*of\s+\\?\$?\d")
# What follows explains the value before it.
_PRICE = re.compile(rf"\s?{CURRENCY}")
_EXPLAINS = re.compile(
    r",?\s\(?(?:where|since|because|given\s+that|as\s+(?:\\?[$(]|\w+\s*[=+\-*/×])|(?:when|if|at|for)"  # noqa: RUF001
    r"\s+(?:\\[(\[]|\$)?[a-zA-Z]\s*=)"
)
_NEW_CLAUSE = re.compile(
    r"[,;:=]|\b(?:is|are|was|were|will|has|have|had|needs?|gets?|makes?|equals?|so|thus|then|which"
    r"|gives?|leaves?|or|and\s+(?:he|she|it|they|we|there)|out\s+of)\b"
)
_BRACKET = re.compile(r"(?<=[^\s(])[ \t]+\((?:[^()\n]|\([^()\n]*\))*\)")
_UNSURE = re.compile(
    r"\b(?:not\s+(?:sure|certain|clear|known)|unsure|uncertain|unclear|no\s+idea"
    r"|(?:do|does|did)(?:\s+not|n['’]t)\s+know)\b",  # noqa: RUF001
    re.IGNORECASE,
)
_UNKNOWN = re.compile(
    rf"{_UNSURE.pattern}|\b(?:not\s+(?:possible|enough)|insufficient"
    r"|(?:cannot|can\s?not|can['’]?t|could\s+not|couldn['’]t|unable\s+to|impossible\s+to)\s+"  # noqa: RUF001
    r"(?:\w+\s+){0,2}?(?:determined?|find|found|say|know|known|solved?|tell|answer(?:ed)?|conclude"
    r"|compute[d]?|calculate[d]?|decide|give))\b",
    re.IGNORECASE,
)
# What follows the first is about the answer again; what follows the second takes it back.
_SO = re.compile(r"\b(?:so|thus|hence|therefore|then|consequently)\b", re.IGNORECASE)
_BUT = re.compile(r"\b(?:but|though|although|however|yet)\b", re.IGNORECASE)
_DIGIT = re.compile(r"[\d√π]|\\(?:pi|frac|sqrt)")
_CJK = re.compile(r"[\u3040-\u9fff\uac00-\ud7af]")
_TEXT = re.compile(r"\\(?:text\w*|mbox|mathrm)\s*\{([^{}\d]*)\}")
_FEW_WORDS = re.compile(r"(?:[^\W\d_]|['’-])+(?:\s+(?:[^\W\d_]|['’-])+){0,2}")  # noqa: RUF001
_POINTING = re.compile(r"\b(?:following|below|above|follows|this|that|found|given|by|then)\b", re.I)
_SENTENCE_END = re.compile(r"[,;:(\n]|\.(?:\s|\Z)|\b(?:since|because|so|as|which|who)\b")


class Last(NamedTuple):
    """The value at the end of a text, and whether it is a plain number."""

    text: str
    is_number: bool


class Passage:
    """A text without its emphasis, and its values.

    Parameters
    ----------
    text : str
        From :func:`~wmss_cli.answers.scan.without_emphasis`, like `spans`.
    spans : list of (int, int)
        What is emphasised.
    """

    def __init__(self, text: str, spans: list[tuple[int, int]]) -> None:
        self.text = text
        self._spans = spans

    @cached_property
    def _values(self) -> list[Value]:
        return values(self.text, self._spans)

    def starts_at(self, position: int) -> bool:
        """Return whether a value starts at a position and is all that is said there."""
        first = next((v for v in self._values if v.start >= position), None)
        return first is not None and first.start == position and not self._goes_on(first)

    def from_position(self, position: int) -> str | None:
        """Return the value that is said at a position: the one there, or that of its sentence."""
        following = [value for value in self._values if value.start >= position]
        if not following:
            return None
        first = following[0]
        if first.start > position or _IS.match(self.text, first.end):
            end = self._sentence_end(first.end)
            prices = [value for value in following if value.end <= end and self._is_price(value)]
            return prices[0].text if len(prices) == 1 else self._chosen(position, end)
        if self._goes_on(first):
            return self.text[position : self._sentence_end(first.end)].strip().rstrip(".")
        group = self._listed_after(following)
        is_list = len(group) > 1 and (
            all(value.is_marked or value.is_emphasised for value in group)
            or _LIST_END.match(self.text, group[-1].end)
        )
        return _joined(group) if is_list else first.text

    def gives_up(self, start: int, begin: int) -> bool:
        """Return whether the sentence of a statement says that the answer is unknown.

        What is said about something else does not count: "3 are not enough, so the answer is 4, and
        we cannot find any other".
        """
        first, last = self._sentence_start(start), self._sentence_end(begin)
        if _UNSURE.search(self.text, first, last):
            return True
        value = next((value for value in self._values if value.start >= begin), None)
        said = min(last, value.start) if value else last
        if _UNKNOWN.search(self.text, self._behind_so(first, start), said):
            return True
        but = _BUT.search(self.text, said, last)
        return but is not None and _UNKNOWN.search(self.text, but.end(), last) is not None

    def _behind_so(self, begin: int, end: int) -> int:
        """Return where the last "so" between two positions ends, or the first of them."""
        return max((match.end() for match in _SO.finditer(self.text, begin, end)), default=begin)

    def words_at(self, position: int) -> str | None:
        """Return the few words that make up a statement, if no value is among them."""
        if marked := _TEXT.match(self.text, position):
            return marked[1].strip()
        end = _SENTENCE_END.search(self.text, position)
        stop = end.start() if end else len(self.text)
        stop = next((last for first, last in self._spans if first == position), stop)
        phrase = self.text[position:stop].strip(" .*\"'")
        if not _FEW_WORDS.fullmatch(phrase) or _POINTING.search(phrase):
            return None
        is_chinese = _CJK.search(phrase) is not None
        return None if is_chinese and self.from_position(position) is not None else phrase

    def last(self) -> Last | None:
        """Return the value of the last sentence that has one; None if a text gives up."""
        if not self._values:
            return self._last_word()
        final = self._values[-1]
        begin, end = self._sentence_start(final.start), self._sentence_end(final.end)
        if self.text[end:].strip() and _UNKNOWN.search(self.text, end):
            return None
        if "answer" in self.text[begin:end] and (
            _UNSURE.search(self.text, begin, end)
            or _UNKNOWN.search(self.text, self._behind_so(begin, final.start), end)
        ):
            return None
        text = self._chosen(begin, end)
        is_number = text == final.text and not (final.is_marked or final.is_emphasised)
        return Last(text, is_number and exact_value(text) is not None)

    def _last_word(self) -> Last | None:
        r"""Return the words in bold or in ``\text{}`` at the end of a text."""
        texts = [match.span() for match in _TEXT.finditer(self.text)]
        for start, end in (self._spans or texts)[-1:]:
            word = _TEXT.sub(r"\1", self.text[start:end]).strip(" .")
            if not self.text[end:].strip(" .!$*\n") and _FEW_WORDS.fullmatch(word):
                return Last(word, False)
        return None

    def _chosen(self, begin: int, end: int) -> str:
        """Return the emphasised value of a sentence, or else its last one."""
        found = [value for value in self._values if begin <= value.start < end]
        remarks = [match.span() for match in _BRACKET.finditer(self.text, begin, end)]
        outside = [value for value in found if not _is_inside(value, remarks)]
        found = outside or found
        found = self._before_explanation(found, end)
        found = [value for value in found if value.is_emphasised] or self._up_to_result(found, end)
        group = self._listed_before(found)
        return _joined(group)

    def _up_to_result(self, found: list[Value], end: int) -> list[Value]:
        """Return the values up to the last result; "= 50 miles for 5 days" has only that one."""
        results = [i for i, value in enumerate(found) if value.is_result]
        if not results or _NEW_CLAUSE.search(self.text, found[results[-1]].end, end):
            return found
        return found[: results[-1] + 1]

    def _before_explanation(self, found: list[Value], end: int) -> list[Value]:
        if not _DIGIT.search(found[0].text):
            return found
        explanation = _EXPLAINS.search(self.text, found[0].end, end)
        if explanation is None:
            return found
        return [value for value in found if value.start < explanation.start()]

    def _is_price(self, value: Value) -> bool:
        begins = _PRICE.match(value.text) is not None
        return begins or _PRICE.match(self.text, value.end) is not None

    def _goes_on(self, value: Value) -> bool:
        if value.text.endswith("%") and _PERCENT_OF.match(self.text, value.end):
            return True
        return _GOES_ON.match(self.text, value.end) is not None

    def _listed_after(self, found: list[Value]) -> list[Value]:
        group = found[:1]
        for value in found[1:]:
            if not _JOINED.fullmatch(self.text, group[-1].end, value.start):
                break
            group.append(value)
        return group

    def _listed_before(self, found: list[Value]) -> list[Value]:
        group = found[-1:]
        for value in reversed(found[:-1]):
            if not _JOINED.fullmatch(self.text, value.end, group[0].start):
                break
            group.insert(0, value)
        if len(group) == 1:
            return group
        are_marked = all(value.is_marked or value.is_emphasised for value in group)
        is_listed = _JOINING_WORD.search(self.text, group[-2].end, group[-1].start) or (
            _INTRODUCED.search(self.text, 0, group[0].start)
            and _LIST_END.match(self.text, group[-1].end)
        )
        return group if are_marked or is_listed else group[-1:]

    def _sentence_start(self, position: int) -> int:
        breaks = [end for _, end in self._breaks if end <= position]
        return breaks[-1] if breaks else 0

    def _sentence_end(self, position: int) -> int:
        return next((start for start, _ in self._breaks if start >= position), len(self.text))

    @cached_property
    def _breaks(self) -> list[tuple[int, int]]:
        """Where sentences end; not at a full stop or a new line inside a value."""
        inside = [(value.start, value.end) for value in self._values]
        found = []
        index = 0
        for match in _BREAK.finditer(self.text):
            while index < len(inside) and inside[index][1] <= match.start():
                index += 1
            if index == len(inside) or match.start() < inside[index][0]:
                found.append(match.span())
        return found


def _is_inside(value: Value, remarks: list[tuple[int, int]]) -> bool:
    """Return whether a value is in a remark; a tuple has brackets of its own."""
    is_tuple = value.text.startswith("(") and "," in value.text
    return not is_tuple and any(start <= value.start < value.end <= end for start, end in remarks)


def _joined(group: list[Value]) -> str:
    return ", ".join(value.text for value in group)
