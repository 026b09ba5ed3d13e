r"""Grades multiple-choice questions by the letter, or the value of an option, in a completion."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from wmss_cli.answers.characters import plain_characters
from wmss_cli.answers.compare import is_equal
from wmss_cli.answers.extract import boxes, extract_answer, is_prose, math_places, statement
from wmss_cli.answers.notation import normal_form
from wmss_cli.core.verdict import Place, Verdict

_COMMAND = re.compile(r"\\(?:text|textbf|textit|textrm|mathrm|mathbf|mbox)\s*\{([^{}]*)\}")
_MARKS = re.compile(
    r"\\[()\[\],;:! ]|(?<![\w)}])\*|\*(?![\w(\\])|\*\*|[$_`\"']|\\(?:left|right|quad)"
)
_CONTRACTED_NOT = re.compile(r"(?:n['’]t\b|(?<=\bcan)not\b)")  # noqa: RUF001
# A letter is alone unless it is part of a word; Chinese has no spaces, so \b does not work.
_ALONE = r"(?<![A-Za-zÀ-ÿ\\]){}(?![A-Za-zÀ-ÿ])"
_DENY = (
    r"(?:\b(?:not|cannot|neither|never|rather\s+than|instead\s+of|eliminate|exclude|rule\s+out)"
    r"|\b(?:non|pas|nicht|keine?|нет?)|不是|并非|非)"
    r"(?:\s+(?:be|equal\s+to|options?|choices?|answers?))*\s*"
)
_DENIED = (
    r"\s+(?:is|are|was|would\s+be|can|could|does|do)"
    r"\s+(?:not|wrong|incorrect|false|impossible|too)\b"
)
_LABELLED = re.compile(
    r"\s*[*$]*(?:\\text\w*\s*\{)?\s*(?:[(\[]([A-Ha-h])[)\]]|([A-H])\s*[).:])"
    r"\s*[*}]*(?:\\[ ,;:]|\s)*"
)
_OPERATORS = ("=", "+", "*", "/", "^", "_", "<", ">")
_VERB = (
    r"\s+(?!(?:is|was|are|has|can|must|would|as|by|because|since|so|but|which|or|and|nor|fits|works"
    r"|matches|seems|looks|holds|satisfies|equals|remains|not|only|then|here"
    r"|non?|pas|et|ou|est|nicht|und|oder|ist|es|y|o|e)\b)[a-z]"
)
_NOUN = re.compile(_VERB)
# "A takes 12 hours", "B's share", "A has 5": the letters of this text are persons or things.
_ACTS = re.compile(
    r"(?<![A-Za-zÀ-ÿ\\(])(?:[B-H](?=" + _VERB + r")|[A-H](?='s\b)|[A-H]\s+has\s+\$?\d"
    r"|A(?=\s+(?!(?:is|was|has|as|fits|works|seems|looks|holds|matches|equals|satisfies|remains)\b)"
    r"[a-z]{2,}(?:[^s\W]s|ed)\s+(?:\$?\d|[A-Z]\b|the|an?|in|at|up|twice|half|as|more|less)\b)"
    r"|[A-H]\s+(?:and|or)\s+[A-H]\s+(?:together|can|work|take|do|have|get|run|start|meet|are)\b"
    r"|[A-H]\s+(?:is|was|are)\s+(?:\w+\s+){0,3}?(?:than|as)\s+[A-Z](?![A-Za-z]))"
)
_CHOSEN = re.compile(
    r"(?:\b(?:options?|choices?|answers?|letter|choose|chose|select|pick|so|thus|hence|therefore"
    r"|think)|\banswer\s+(?:is|must\s+be|should\s+be)|\bit['’]?s|选项?|选择|答案[是为選选]?|故选|:)"  # noqa: RUF001
    r"\s*:?\s*\Z",
    re.IGNORECASE,
)
# Each text matches in one way only: with two, a list of letters would take exponential time.
_JOINED = r"\s*(?:(?:,\s*)?(?:or|and|nor|ou|oder|y|o|et|und|或|和)\b|[,/&])\s*"
_LETTERS = 5


class Letters:
    """Reads the letters of options, starting from A.

    Parameters
    ----------
    count : int
        Number of letters.
    """

    def __init__(self, count: int) -> None:
        last = chr(ord("A") + count - 1)
        upper, either = f"[A-{last}]", f"[A-{last}a-{last.lower()}]"
        one = _ALONE.format(rf"(?:\(({either})\)|({upper}))")
        self._one = re.compile(one)
        several = rf"{one}(?:{_JOINED}{one}){{0,{count}}}"
        self._denied = re.compile(rf"(?i:{_DENY}){several}|{several}{_DENIED}")
        self._only = re.compile(rf"(?:(?i:option|choice)\s+)?[(\[]?({either})[)\].:]*")
        # "B) 56", "(B) 56", "B: 56", "C Cecile".
        self._label = re.compile(
            rf"(?:[(\[]({either})[)\]]|({upper})\s*[).:]|({upper})(?=\s+(?:[A-Z]\w|\d)))\s*"
        )

    def only(self, text: str) -> str | None:
        r"""Return the letter that a text consists of, alone or as the label of an option.

        Examples
        --------
        >>> letters = Letters(5)
        >>> letters.only(r"\text{(b)}"), letters.only("B) 56"), letters.only("E = mc^2")
        ('B', 'B', None)
        """
        text = _plain(text)
        if match := self._only.fullmatch(text):
            return _letter(match)
        match = self._label.match(text)
        # "(A) is too small, so (B)" does not label one option.
        if match is None or self.named(text[match.end() :]):
            return None
        return _letter(match)

    def named(self, text: str) -> list[str | None]:
        """Return the letters that a text names and does not negate, in order.

        Several joined ones ("A or B") count as one None: they choose nothing.

        Examples
        --------
        >>> letters = Letters(5)
        >>> letters.named("It is not A, so I think it's B"), letters.named("A or B")
        (['B'], [None])
        """
        has_persons = _ACTS.search(text) is not None
        text = self._denied.sub(" ", _plain(text))
        named: list[str | None] = []
        end = None
        for match in self._one.finditer(text):
            if _is_symbol(text, match) or _is_article(text, match):
                continue
            if has_persons and not _is_chosen(text, match):
                continue
            letter = _letter(match)
            if end is not None and re.fullmatch(_JOINED, text[end : match.start()]):
                named[-1] = letter if named[-1] == letter else None
            else:
                named.append(letter)
            end = match.end()
        return named


def labelled(text: str) -> str | None:
    r"""Return what follows the label of an option at the beginning of a text.

    Examples
    --------
    >>> labelled(r"\text{(B) } 12"), labelled("12")
    ('12', None)
    """
    match = _LABELLED.match(text)
    return text[match.end() :].strip(" *}") or None if match else None


def option_texts(options: Sequence[str]) -> list[str]:
    """Return the options without their labels: ``A)23``, ``(A) 23`` and ``A)A)23`` are ``23``."""
    texts = []
    for index, option in enumerate(options):
        label = re.compile(rf"\s*\(?{chr(ord('A') + index)}\s*[).:]\s*")
        text = option
        while match := label.match(text):
            text = text[match.end() :]
        texts.append(text.strip())
    return texts


def _plain(text: str) -> str:
    text = _CONTRACTED_NOT.sub(" not", _COMMAND.sub(r"\1", text))
    return _MARKS.sub(" ", text).strip()


def _letter(match: re.Match[str]) -> str:
    return next(group for group in match.groups() if group).upper()


def _is_chosen(text: str, match: re.Match[str]) -> bool:
    """Return whether a letter is chosen in a text whose letters are also persons."""
    in_brackets = match[0].startswith("(")
    return (
        in_brackets or _CHOSEN.search(text, max(0, match.start() - 40), match.start()) is not None
    )


def _is_symbol(text: str, match: re.Match[str]) -> bool:
    """Return whether a letter is part of a formula, as in ``E = mc^2``."""
    if match[0].startswith("("):
        return False
    before, after = text[: match.start()].rstrip(), text[match.end() :]
    return before.endswith(_OPERATORS) or after.lstrip().startswith(_OPERATORS)


def _is_article(text: str, match: re.Match[str]) -> bool:
    """Return whether a letter is an article, as in "A car", unlike in "A is right"."""
    return match[0] == "A" and _NOUN.match(text, match.end()) is not None


def check_choice(text: str, gold: str, options: Sequence[str] = ()) -> Verdict:
    r"""Compare the chosen letter of a multiple-choice question with that of the reference.

    The first place that names a letter, or the value of exactly one option, counts. The places
    are: the last box; what follows the last "the answer is"; the whole answer; the last letter
    that is named and not negated; the last formula or number. Joined letters ("A or B") choose
    nothing.

    Parameters
    ----------
    text : str
        The completion.
    gold : str
        The letter, alone or with the text of its option.
    options : sequence of str
        The options in the order of their letters, with or without the letters. Without options
        only the letters A to E count.

    Examples
    --------
    >>> check_choice(r"It can't be A, so it's (C).", "C").correct
    True
    """
    answer = extract_answer(text)
    if answer is None:
        return Verdict("no_answer")
    answer = plain_characters(answer)
    letters = Letters(len(options) or _LETTERS)
    expected = next((choice.letter for choice in _choices(gold, letters, ())), None)
    if expected is None:
        return Verdict("bad_reference", answer)
    choice = next(_choices(answer, letters, option_texts(options)), None)
    if choice is None:
        return Verdict("no_answer")
    if choice.letter == expected:
        return Verdict("correct", choice.letter, choice.place)
    return Verdict("wrong_answer", choice.letter or choice.text, choice.place)


class _Choice(NamedTuple):
    """The choice at a place; no letter if it names several."""

    letter: str | None
    text: str
    place: Place


def _choices(answer: str, letters: Letters, options: Sequence[str]) -> Iterator[_Choice]:
    """Yield what each place chooses, in order of priority."""
    for place, text in _places(answer):
        value = labelled(text) if options else None
        if value and (other := _option(value, options, prose=is_prose(value))):
            # "(C) 120" chooses neither C nor D if 120 is the value of D.
            letter = letters.only(text)
            yield _Choice(other if letter in (None, other) else None, text, place)
        elif letter := letters.only(text) or _option(text, options, prose=is_prose(text)):
            yield _Choice(letter, text, place)
        elif place != "whole" and (named := letters.named(text)):
            yield _Choice(named[0], text, place)
    if named := letters.named(answer):
        yield _Choice(named[-1], answer, "last_letter")
    for found in math_places(answer):
        if letter := _option(found.texts[0], options, prose=False):
            yield _Choice(letter, found.texts[0], found.place)


def _places(answer: str) -> Iterator[tuple[Place, str]]:
    if boxed := boxes(answer):
        yield "boxed", boxed[-1]
    if stated := statement(answer):
        yield "statement", stated.partition("\n")[0]
    if "\n" not in answer:
        yield "whole", answer


def _option(text: str, options: Sequence[str], prose: bool) -> str | None:
    """Return the letter of the only option equal to a text; words must match exactly."""
    if prose:
        equal = [normal_form(text) == normal_form(option) for option in options]
    else:
        equal = [is_equal(text, option) for option in options]
    return chr(ord("A") + equal.index(True)) if equal.count(True) == 1 else None
