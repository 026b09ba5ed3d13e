r"""Where the answer is in a completion.

First the part that counts (:func:`extract_answer`), then the places in it, in order of priority
(:func:`math_places`): a box, a statement such as "the answer is", the whole part if it is a
formula, and finally the value at the end of its prose.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from wmss_cli.answers.characters import plain_characters
from wmss_cli.answers.number import in_words, join_thousands
from wmss_cli.answers.prose import Passage
from wmss_cli.answers.scan import MARKED, result, without_emphasis
from wmss_cli.core.tags import answer_part
from wmss_cli.core.verdict import Place

_BOX = re.compile(
    r"\\(?:boxed|fbox|framebox)\s*"
    r"(?:\{|(?P<token>-?\d+(?:[.,]\d+)*|[A-Za-z](?![A-Za-z])(?=\s*(?:[$.,;)\]]|\\|\Z))"
    r"|\\[a-z]+(?:\{[^{}]*\}|\d)+))"
)
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)
_STATEMENT = re.compile(
    # "The answer to the question is", "Final answer:", GSM8K's "####", a heading on its own line.
    r"\banswers?\b[\"']*(?:\s+[^\s.:=]+){0,5}?\s*(?:\b(?:is|are|be|equals)\b|[:=])\s*[:\"']*"
    r"|\bfinal\s+result\s*(?:\bis\b|[:=])\s*"
    r"|^\#{4}(?!\#)(?!\s*(?:step|conclusion|solution|summary|explanation|verification|final)\b)"
    r"|^(?:\#+\s*)?(?:the\s+)?(?:final\s+)?answer\s*$"
    r"|\b(?:réponse|respuesta|resposta|risposta|antwort|ответ|odpowiedź|cevap|jawaban)\b"
    r"(?:\s+[^\s.:=]+){0,5}?\s*(?:\b(?:est|es|é|è|ist|lautet|adalah)\b|[:=—–])"  # noqa: RUF001
    r"|(?:答案|答え|정답|(?<![回解作应應問问对對])答(?=\s*(?:应该|應該)?[是为為就は:]))\s*(?:应该|應該)?"
    r"[是为為就は은:\s]*(?=[^\s。])"
    r"|(?:đáp án|उत्तर|الجواب|الإجابة)\s*(?:là|है|هو|هي)?\s*:?",
    re.IGNORECASE | re.MULTILINE,
)
_HEDGE = re.compile(
    r"\s*(?:—+\s*)?(?:(?:approximately|about|roughly|around|exactly|simply|just|equal\s+to|≈|=)\s*"
    r"(?=[-$\\\d√π.(]))?",
    re.IGNORECASE,
)
_DELIMITED = re.compile(r"\\\(|\\\[|\$[^$]+\$", re.DOTALL)
_TEXT_COMMAND = re.compile(r"\\(?:text|mbox|mathrm|textbf|operatorname)\w*\s*\{[^{}]*\}")
_COMMAND = re.compile(r"\\(?:begin|end)\{\w+\*?\}|\\[A-Za-z]+")
_WORD = re.compile(r"[^\W\d_]{2,}")
# "Therefore 5", "actually 5"; a function such as "sin 5" does not start a sentence.
_OPENING_WORD = re.compile(
    r"\s*(?!(?:arc)?(?:sin|cos|tan|cot|sec|csc)h?\b"
    r"|(?:log|ln|exp|sqrt|pi|minus|negative|USD|EUR|Rs|US)\b)"
    r"(?:(?:[A-Z][a-z]|[a-z]{2})[a-z]+[,:]?\s+\S*\d|[A-Za-z][a-z]+[,:]?\s[^\d\n]*=.*\d)"
)
# As with the letters of a choice, what is negated does not count as named.
_DENIED = re.compile(
    r"(?:\b(?:not|isn['’]t|rather\s+than|instead\s+of)\s+|不是\s*|而非\s*|并非\s*)"  # noqa: RUF001
    rf"[*`]*(?:{MARKED}|\\?\$?-?\d[\d,]*(?:\.\d+)?(?:/\d+)?(?![\d.,/]*\d))[*`]*"
)
_CONNECTIVE = re.compile(
    r"\b(?:not|but|so|since|because|therefore)\b|[^\W\d]\s?:\s|\w[.!?]\s+[A-Z][a-z]"
)
# Chinese, Japanese and Korean sentences have no spaces to count words; a unit is not a sentence.
_SENTENCE = re.compile(
    r"\A\s*[\u3040-\u9fff\uac00-\ud7af]|(?<![\d.%])[\u3040-\u9fff\uac00-\ud7af]{2,}"
    r"|[\u3040-\u9fff\uac00-\ud7af]{5,}"
)
# Marks of a code block, a quotation or table cells are not part of a sentence.
_FENCE = re.compile(r"^[ \t]*(?:`{3,}|~{3,})\w*[ \t]*$|^[ \t]*>[ \t]+(?=[*$\\A-Za-z])", re.M)
_TABLE_ROW = re.compile(r"^[ \t]*\|[ :-].*[ :-]\|[ \t]*$", re.M)
_RULE = re.compile(r"[|:\s-]+")
_RATIO = re.compile(r"(?<=\bratio\b)([^.\n]{0,80}?)(\b\d+(?:\.\d+)?)\s+to\s+(?=\d)", re.I)
_LIST_NUMBER = re.compile(
    r"^[ \t]*(?:\d{1,2}[.)]|\(\d{1,2}\)|[-•])[ \t]+(?=\S*[^\W\d_]{2}|\S+ )", re.M
)
# "42 (6 * 7)", "1/4 (or 25%)", "366 downloads (60 + 180 + 126)": the value comes first.
_REMARK = re.compile(
    r"(?P<value>[^\n]*[^\s(=+\-*/^_,\\])(?:\s|\\[ ,;:]|\\q?quad(?![a-z]))+"
    r"\((?P<inside>[^()]+)\)\.?"
)


# A bracket belongs to these: an operator, or words that lead to the value.
_LEADS = re.compile(r"\\(?!(?:pi|infty|circ|theta|alpha|beta)\Z)[A-Za-z]+\Z|(?:\bis|[:=])\s*\}?\Z")
_SUM = re.compile(r"(?:[\d\s.,$%=≈+\-*/×·÷]|\\(?:times|cdot|div|approx|%|\$))+")  # noqa: RUF001
_SUM_SIGN = re.compile(r"\d\s*(?:[-+*/×·÷=≈]|\\(?:times|cdot|div|approx))\s*\\?\$?[\d.]|%|≈")  # noqa: RUF001
# Words of a statement about the answer before it; the first ones say that it is wrong.
_WRONG = re.compile(r"(?:wrong|incorrect|false|not)\b", re.IGNORECASE)
_REMARK_ON_IT = re.compile(
    r"(?:(?:indeed|also|both|clearly)\s+)?(?:correct|helpful|useful|consistent|reasonable"
    r"|plausible|verified|confirmed|in\s+agreement)\b",
    re.IGNORECASE,
)
_MOST_STATEMENTS = 20


class Found(NamedTuple):
    """A place with an answer.

    Attributes
    ----------
    place : str
        ``boxed``, ``statement``, ``whole`` (a part that contains only the answer), ``prose``
        (the last formula or number of a text), ``last_number`` or ``last_letter``.
    texts : tuple of str
        The text at that place; if it can be read in two ways, the likelier one first.
    """

    place: Place
    texts: tuple[str, ...]


def extract_answer(text: str) -> str | None:
    r"""Return the part of a completion that counts as the answer.

    This is the content of the last ``<answer>…</answer>`` after the thinking; without answer tags,
    everything after ``</think>``; without any tags, the whole text. What is unfinished (thinking
    without an end, an answer or a last box that is cut off) is not an answer.

    Parameters
    ----------
    text : str
        The completion.

    Returns
    -------
    str or None
        The answer without surrounding white space; None if there is none.

    Examples
    --------
    >>> extract_answer(r"<think>2 + 2</think> <answer>It is \boxed{4}.</answer>")
    'It is \\boxed{4}.'
    """
    part = answer_part(text)
    # Inside answer tags nothing is cut off.
    if part is None or ("</answer>" not in text and _is_cut_off(part)):
        return None
    return part.strip() or None


def boxes(text: str) -> list[str]:
    r"""Return the content of each ``\boxed{}`` or ``\fbox{}``, with balanced braces.

    A box whose brace is never closed extends to the end of the text; :func:`extract_answer` accepts
    such a box only inside ``<answer>…</answer>``, where it cannot be cut off.

    Examples
    --------
    >>> boxes(r"first \boxed{\frac{1}{2}}, then \boxed 5")
    ['\\frac{1}{2}', '5']
    """
    found = []
    position = 0
    while box := _BOX.search(text, position):
        position = box.end()
        if box["token"]:
            found.append(box["token"])
            continue
        end = _closing_brace(text, position)
        found.append(text[position:end])
        position = end
    return found


def statement(text: str) -> str | None:
    """Return what follows the last "the answer is" (or "Answer:") of a text.

    Examples
    --------
    >>> statement("The answer is 4, no: the answer is 5.")
    '5.'
    """
    text, _ = without_emphasis(text)
    stated = _statement_end(text)
    return None if stated is None else text[stated:].strip() or None


def math_places(answer: str) -> Iterator[Found]:
    r"""Yield where a mathematical answer may be, in order of priority.

    1. ``statement``: an answer that is stated after the last box.
    2. ``boxed``: the last box; or all boxes together, as a list. If there is a box, nothing else
       counts.
    3. ``statement``: what follows the last "the answer is" with a value, or the words of the last.
    4. ``whole``: all of it, if it is one formula or number without prose.
    5. ``prose``: the value that its last sentence emphasises, or else the last formula there.
    6. ``last_number``: the last number there.

    Parameters
    ----------
    answer : str
        From :func:`extract_answer`.
    """
    answer = plain_characters(answer)
    boxed = list(dict.fromkeys(boxes(answer)))
    if boxed:
        if (final := _stated(_passage(_behind_boxes(answer)), leading=True)) is not None:
            yield Found("statement", (final,))
        # A value that is boxed again at the end is still the last one.
        last = without_remark(boxes(answer)[-1])
        yield Found("boxed", (last, ", ".join(boxed)) if len(boxed) > 1 else (last,))
        return
    passage = _passage(answer)
    if (said := _stated(passage, leading=False)) is not None:
        yield Found("statement", (said,))
    if not is_prose(passage.text):
        yield Found("whole", (result(without_remark(passage.text)),))
        return
    if (last_value := passage.last()) is not None:
        yield Found("last_number" if last_value.is_number else "prose", (last_value.text,))


def without_remark(text: str) -> str:
    r"""Return a value without a following remark in brackets.

    Examples
    --------
    >>> without_remark("42 (6 * 7)"), without_remark("2 (x + 1)"), without_remark("1/4 (or 25%)")
    ('42', '2 (x + 1)', '1/4')
    """
    match = _REMARK.fullmatch(text.strip())
    if match is None or _LEADS.search(match["value"]):
        return text
    return match["value"] if _is_remark(match["inside"]) else text


def _is_remark(inside: str) -> bool:
    words = _WORD.search(_COMMAND.sub(" ", inside)) or _TEXT_COMMAND.search(inside)
    is_sum = _SUM.fullmatch(inside) and _SUM_SIGN.search(inside)
    is_base = re.fullmatch(r"\s*(?:\\text\s*\{\s*)?(?:in\s+)?(?:base|\\?b?p?mod)\b.*", inside)
    return is_base is None and bool(words or is_sum)


def _passage(text: str) -> Passage:
    """Return a text ready for reading its values: without list numbers and negated values."""
    text = _TABLE_ROW.sub(_cells, _FENCE.sub("", text))
    text = _RATIO.sub(r"\1\2:", _LIST_NUMBER.sub("", _DENIED.sub(" ", text)))
    text = join_thousands(text).strip()
    return Passage(*without_emphasis(text))


def _cells(row: re.Match[str]) -> str:
    return "" if _RULE.fullmatch(row[0]) else row[0].replace("|", "  ").strip()


def _statement_end(text: str) -> int | None:
    stated = list(_STATEMENT.finditer(text))
    return stated[-1].end() if stated else None


def _stated(passage: Passage, leading: bool) -> str | None:
    """Return the last statement's value; if `leading`, only one that follows at once.

    Words count if no statement has a value: "The answer is 5. I hope this answer is helpful."
    """
    words: str | None = None
    for stated in list(_STATEMENT.finditer(passage.text))[: -_MOST_STATEMENTS - 1 : -1]:
        hedge = _HEDGE.match(passage.text, stated.end())
        begin = hedge.end() if hedge else stated.end()
        if leading:
            if passage.starts_at(begin):
                return passage.from_position(begin)
            continue
        said, is_value = _said(passage, stated.start(), begin)
        if is_value:
            return said
        is_wrong = said is not None and _WRONG.match(said) is not None
        if words is None or (said and _REMARK_ON_IT.fullmatch(words) and not is_wrong):
            words = said
        if is_wrong:
            break
    return words


def _said(passage: Passage, start: int, begin: int) -> tuple[str | None, bool]:
    """Return the value or the words of one statement, and whether it rules out all before it."""
    line = passage.text[begin:].partition("\n")[0].strip().rstrip(". ")
    if not line:
        return None, False
    is_display = line.startswith(("$$", "\\["))
    if not is_display and (not is_prose(line) or in_words(line) is not None):
        is_word = _WORD.fullmatch(line) is not None and in_words(line) is None
        if not is_word or not passage.gives_up(start, begin):
            return result(without_remark(line)), not is_word
    if passage.gives_up(start, begin):
        return None, True
    words = passage.words_at(begin)
    if words is None and (remark := _REMARK_ON_IT.match(passage.text, begin)):
        words = remark[0]
    if words is not None:
        return words, in_words(words) is not None
    value = passage.from_position(begin)
    return value, value is not None


def _behind_boxes(text: str) -> str:
    position = 0
    while box := _BOX.search(text, position):
        position = box.end() if box["token"] else _closing_brace(text, box.end())
    return text[position:]


def is_delimited(text: str) -> bool:
    """Return whether a text marks its formulas, with dollars or LaTeX brackets."""
    return _DELIMITED.search(text) is not None


def is_prose(text: str) -> bool:
    r"""Return whether a text is more than one formula: words, or marked formulas.

    Words inside ``\text{}``, and a unit after a number, are not prose.
    """
    bare = _COMMAND.sub(" ", _TEXT_COMMAND.sub(" ", text))
    words = (
        len(_WORD.findall(bare)) > 1
        or _OPENING_WORD.match(bare) is not None
        or _CONNECTIVE.search(bare) is not None
        or _SENTENCE.search(bare) is not None
    )
    return "\n" in text or is_delimited(text) or words


def _is_cut_off(text: str) -> bool:
    started = list(_BOX.finditer(text))
    if not started or started[-1]["token"]:
        return False
    return _closing_brace(text, started[-1].end()) == len(text)


def _closing_brace(text: str, start: int) -> int:
    r"""Return where the brace opened before `start` closes; ``\\{`` is not a brace."""
    depth = 1
    for brace in _BRACE.finditer(text, start):
        depth += {"{": 1, "}": -1}.get(brace[0], 0)
        if depth == 0:
            return brace.start()
    return len(text)
