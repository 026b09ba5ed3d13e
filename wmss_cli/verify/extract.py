r"""Where the answer stands in a completion.

First the part that counts (:func:`extract_answer`), then the places in it, in the order in which
they are asked (:func:`math_places`): a box, a statement such as "the answer is", the whole part
where it is a formula, and last what stands at the end of its prose.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal, NamedTuple

from wmss_cli.verify.number import in_words

Place = Literal["boxed", "statement", "whole", "prose", "last_number", "last_letter"]

_BOX = re.compile(r"\\(?:boxed|fbox)\s*(?:\{|(?P<token>[^\s{}]))")
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)
_STATEMENT = re.compile(
    # "The answer to the question is", "**Final answer:**", GSM8K's "####".
    r"\banswers?\b[*_\"']*(?:\s+[^\s.:=]+){0,5}?\s*(?:\b(?:is|are|be|equals)\b|[:=])\s*[*_:]*"
    r"|^\#{4}(?!\#)"
    r"|\b(?:réponse|respuesta|resposta|risposta|antwort|ответ)\b(?:\s+[^\s.:=]+){0,5}?\s*"
    r"(?:\b(?:est|es|é|è|ist)\b|:)"
    r"|(?:答案|答え|정답)\s*[是为為は은:：]*",  # noqa: RUF001
    re.IGNORECASE | re.MULTILINE,
)
_HEDGE = re.compile(
    r"^(?:approximately|about|roughly|around|exactly)\s+(?=[-$\\\d])", re.IGNORECASE
)
_DELIMITED = re.compile(r"\\\(|\\\[|\$[^$]+\$", re.DOTALL)
_MARKED = (
    r"(?:(?<!\\)\$\$(?:[^$\\]|\\.)+\$\$|(?<!\\)\$(?![\s$])(?:[^$\\]|\\.)*(?<!\s)\$(?![\d$])"
    r"|\\\((?:[^\\]|\\[^()])+\\\)|\\\[(?:[^\\]|\\[^\[\]])+\\\])"
)
# "is $1$ and $2$": formulas that are listed, up to other words.
_LISTED = re.compile(
    rf"\s*(?P<first>{_MARKED})(?P<others>(?:(?:\s|,|;|\b(?:and|or)\b)+{_MARKED})*)", re.DOTALL
)
# "$x$ is $5$", "$5$ million", "$2$ to $3$": the formula alone is not the answer.
_GOES_ON = re.compile(
    r"\s*(?:[-=<>≤≥≈%^_*/+:\d\\(]|(?:is|are|equals?|percent|times|plus|minus|to|of|where|with"
    r"|hundred|thousand|million|billion|trillion|dozen)\b)"
)
_TEXT_COMMAND = re.compile(r"\\(?:text|mbox|mathrm|textbf|operatorname)\w*\s*\{[^{}]*\}")
_COMMAND = re.compile(r"\\(?:begin|end)\{\w+\*?\}|\\[A-Za-z]+")
_WORD = re.compile(r"[^\W\d_]{2,}")
# "Therefore 5", "actually 5"; a function such as "sin 5" opens no sentence.
_OPENING_WORD = re.compile(
    r"\s*(?!(?:arc)?(?:sin|cos|tan|cot|sec|csc)h?\b|(?:log|exp|sqrt|minus|negative|USD|EUR)\b)"
    r"(?:[A-Z][a-z]|[a-z]{2})[a-z]+[,:]?\s+\S*\d"
)
# As with the letters of a choice, what is denied is not named.
_DENIED = re.compile(
    r"\b(?:not|isn['’]t|rather\s+than|instead\s+of)\s+"  # noqa: RUF001
    rf"(?:{_MARKED}|\\?\$?-?\d[\d,]*(?:\.\d+)?(?:/\d+)?(?![\d.,/]*\d))"
)
# What a tokenizer or a template leaves behind the end of a completion.
_END_TOKEN = re.compile(r"(?:(?:</s>|<\|[\w ]{1,30}\|>|<(?:eos|end_of_turn)>)\s*)+\Z")
_CONNECTIVE = re.compile(r"\b(?:not|but|so|since|because|therefore)\b|\w:\s|\w[.!?]\s+[A-Z][a-z]")
# Chinese, Japanese and Korean sentences have no spaces to count words by.
_SENTENCE = re.compile(r"[\u3040-\u9fff\uac00-\ud7af]{2,}")
# "(at $x = 2$)" behind the answer; "$x$ is 3 and -2" at the end of it.
_REMARK = re.compile(
    r"(?<!\s)\s*\((?:at|when|where|for|since|because)\b[^()]*(?:\([^()]*\)[^()]*)*\)\s*\.?$"
)
_NUMBER = r"-?\d[\d,]*(?:\.\d+|/\d+)?(?![\d/])"
_ENUMERATED = re.compile(
    rf"\bare\s+(?P<numbers>{_NUMBER}(?:,\s+{_NUMBER})*),?\s+and\s+(?P<last>{_NUMBER})\s*\.?$"
)
_LAST_NUMBER = re.compile(r"(?<![\d.,])-?\d[\d,]*(?:\.\d+)?(?:\s*/\s*\d+(?:\.\d+)?)?")


class Found(NamedTuple):
    """A place with an answer.

    Attributes
    ----------
    place : str
        ``boxed``, ``statement``, ``whole`` (a part that is nothing but the answer), ``prose``
        (the last formula or number of a text), ``last_number`` or ``last_letter``.
    texts : tuple of str
        What stands there; where it can be taken in two ways, the likelier one first.
    """

    place: Place
    texts: tuple[str, ...]


def extract_answer(text: str) -> str | None:
    r"""Return the part of a completion that counts as the answer.

    That is what stands inside the last ``<answer>…</answer>`` after the thinking; without
    answer tags, all that follows ``</think>``; without any tags, the whole text. What is
    unfinished (thinking without an end, an answer or a last box that is cut off) is no answer.

    Parameters
    ----------
    text : str
        The completion.

    Returns
    -------
    str or None
        The answer without surrounding white space, None if there is none.

    Examples
    --------
    >>> extract_answer(r"<think>2 + 2</think> <answer>It is \boxed{4}.</answer>")
    'It is \\boxed{4}.'
    """
    part = answer_part(text)
    # Inside of answer tags nothing is cut off.
    if part is None or ("</answer>" not in text and _is_cut_off(part)):
        return None
    return part.strip() or None


def answer_part(text: str) -> str | None:
    """Return the part of a completion that counts, as it stands, whatever kind of answer it is.

    See :func:`extract_answer`. A tag between quotation marks, as a program has it, is none.

    Returns
    -------
    str or None
        None where the thinking or the answer has no end.

    Examples
    --------
    >>> answer_part("<think>Easy.</think><answer>    return x</answer>")
    '    return x'
    """
    rest = _END_TOKEN.sub("", text[max(_ends(text, "</think>"), default=0) :])
    if list(_ends(rest, "<think>")):
        return None
    end = max(_ends(rest, "</answer>"), default=0) - len("</answer>")
    start = max(_ends(rest[: max(end, 0)], "<answer>"), default=0)
    if start:
        return rest[start:end]
    return None if list(_ends(rest, "<answer>")) else rest


def _ends(text: str, tag: str) -> Iterator[int]:
    """Yield where a tag ends; between two of the same quotation marks it is a text, and no tag."""
    for found in re.finditer(re.escape(tag), text):
        before, behind = text[: found.start()][-1:], text[found.end() :][:1]
        if before != behind or before not in ("'", '"', "`"):
            yield found.end()


def boxes(text: str) -> list[str]:
    r"""Return what stands in each ``\boxed{}`` or ``\fbox{}``, with balanced braces.

    A box whose brace is never closed goes on to the end of the text; :func:`extract_answer` lets
    such a one through only inside of ``<answer>…</answer>``, where it cannot be cut off.

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
    stated = list(_STATEMENT.finditer(text))
    return (text[stated[-1].end() :].strip() or None) if stated else None


def math_places(answer: str) -> Iterator[Found]:
    r"""Yield where a mathematical answer may stand, in the order of what counts.

    1. ``boxed``: the last box; or all boxes together, as a list. Where there is a box, nothing
       else counts.
    2. ``statement``: what follows the last "the answer is".
    3. ``whole``: all of it, where it is one formula or number and no prose.
    4. ``prose``: its last formula or number, as math-verify finds it.
    5. ``last_number``: the last number or fraction, whatever stands around it.

    Parameters
    ----------
    answer : str
        From :func:`extract_answer`.
    """
    boxed = list(dict.fromkeys(boxes(answer)))
    if boxed:
        # A value that is boxed again at the end is the last one all the same.
        last = boxes(answer)[-1]
        yield Found("boxed", (last, ", ".join(boxed)) if len(boxed) > 1 else (last,))
        return
    answer = _DENIED.sub(" ", answer)
    if (stated := statement(answer)) is not None:
        stated = _HEDGE.sub("", stated.lstrip("* "), count=1)
        line = stated.partition("\n")[0].strip("* ").rstrip("*. ")
        # math-verify then takes the number next to the word, but the formula that stands last.
        said = _leading(stated) or f"answer: {stated}"
        is_sentence = is_prose(line) and in_words(line) is None
        yield Found("statement", (said if is_sentence else line,))
    if not is_prose(answer):
        yield Found("whole", (answer,))
        return
    answer = _REMARK.sub("", answer)
    formula = _last_formula(answer) or _enumeration(answer)
    yield Found("prose", (formula, answer) if formula else (answer,))
    numbers = _LAST_NUMBER.findall(answer)
    if numbers:
        yield Found("last_number", (numbers[-1].rstrip(","),))


def is_delimited(text: str) -> bool:
    """Say whether a text marks its formulas, with dollars or LaTeX brackets."""
    return _DELIMITED.search(text) is not None


def is_prose(text: str) -> bool:
    r"""Say whether a text is more than one formula: words, or formulas that it marks.

    Words inside ``\text{}``, and a unit behind a number, are no prose.
    """
    bare = _COMMAND.sub(" ", _TEXT_COMMAND.sub(" ", text))
    words = (
        len(_WORD.findall(bare)) > 1
        or _OPENING_WORD.match(bare) is not None
        or _CONNECTIVE.search(bare) is not None
        or _SENTENCE.search(bare) is not None
    )
    return "\n" in text or is_delimited(text) or words


def _leading(stated: str) -> str | None:
    """Return the marked formulas with which a statement begins, where it then goes on in words."""
    listed = _LISTED.match(stated)
    if listed is None or _GOES_ON.match(stated, listed.end()):
        return None
    return listed["first"] + listed["others"] if listed["others"] else _unmarked(listed["first"])


def _last_formula(text: str) -> str | None:
    """Return the marked formula with which a text ends, where it is not one of several."""
    listed = list(_LISTED.finditer(text))
    if not listed or listed[-1]["others"] or text[listed[-1].end() :].strip(" .*\n"):
        return None
    return _unmarked(listed[-1]["first"])


def _enumeration(text: str) -> str | None:
    """Return the plain numbers with which a text ends ("are 3 and -2"), as a list."""
    found = _ENUMERATED.search(text)
    return f"{found['numbers']}, {found['last']}" if found else None


def _unmarked(marked: str) -> str:
    ends = 2 if marked.startswith(("$$", "\\")) else 1
    return marked[ends:-ends].strip().rstrip(".,;")


def _is_cut_off(text: str) -> bool:
    started = list(_BOX.finditer(text))
    if not started or started[-1]["token"]:
        return False
    return _closing_brace(text, started[-1].end()) == len(text)


def _closing_brace(text: str, start: int) -> int:
    r"""Return where the brace closes that was opened before `start`; ``\\{`` is no brace."""
    depth = 1
    for brace in _BRACE.finditer(text, start):
        depth += {"{": 1, "}": -1}.get(brace[0], 0)
        if depth == 0:
            return brace.start()
    return len(text)
