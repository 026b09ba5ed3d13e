r"""Turns a text into words, for comparison with other texts.

Formulas are written in many ways: ``\dfrac12``, ``\frac{1}{2}`` and ``1/2`` give the same words
here, and pure typesetting (``\left``, ``\quad``, ``\text``) gives none.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence

# Scripts without spaces between words: kana and Chinese characters.
_UNSPACED = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_WORD = rf"[{_UNSPACED}]|[^\W{_UNSPACED}]+"
# Parts of expressions; not hyphens, emphasis (**) and exclamation marks.
_SIGN = "|".join(
    [
        r"[+/=<>^%~|&±\N{MULTIPLICATION SIGN}÷·√∑∏∫≤≥≠≈∞∈\N{UNION}∩]",
        r"(?<!\*)\*(?!\*)",
        r"-(?![^\W\d])",
        r"(?<![^\W\d])-",
        r"(?<=[\d)])!",
    ]
)
_WORDS = re.compile(_WORD)
_WORDS_AND_SIGNS = re.compile(f"{_WORD}|{_SIGN}")

_SIGNS: Mapping[str, str] = {
    "cdot": "·",
    "times": "\N{MULTIPLICATION SIGN}",
    "div": "÷",
    "pm": "±",
    "sqrt": "√",
    "sum": "∑",
    "prod": "∏",
    "int": "∫",
    "le": "≤",
    "leq": "≤",
    "leqslant": "≤",
    "ge": "≥",
    "geq": "≥",
    "geqslant": "≥",
    "ne": "≠",
    "neq": "≠",
    "approx": "≈",
    "infty": "∞",
    "in": "∈",
    "cup": "\N{UNION}",
    "cap": "∩",
    "lt": "<",
    "gt": ">",
    "mid": "|",
    "vert": "|",
}
"""LaTeX commands that mean a sign of :data:`_SIGN`."""

_TYPESETTING_NAMES = """
    boxed left right middle big bigl bigr bigg biggl biggr displaystyle textstyle limits nolimits
    text textbf textit textrm texttt textsc emph mbox hbox mathrm mathbf mathbb mathcal mathit
    mathsf boldsymbol bf rm it operatorname underline displaylimits phantom hphantom vphantom
    quad qquad hspace vspace hfill smallskip medskip bigskip noindent newline hline centering item
    dots ldots cdots dotsc dotsb dotsm circ degree prime tag label
"""
_TYPESETTING = frozenset(_TYPESETTING_NAMES.split())
"""LaTeX commands that affect only how something looks; ``\\circ`` is mostly a degree."""

_SPOKEN_NAMES = """
    sin cos tan cot sec csc arcsin arccos arctan sinh cosh tanh log ln lg exp lim max min sup inf
    gcd lcm det dim ker deg arg mod
"""
_SPOKEN = frozenset(_SPOKEN_NAMES.split())
"""LaTeX commands that are printed as their own name, so they are words."""

_GREEK = re.compile(
    "(?:var)?(alpha|beta|gamma|delta|epsilon|zeta|eta|theta|iota|kappa|"
    "lambda|mu|nu|xi|pi|rho|sigma|tau|upsilon|phi|chi|psi|omega)"
)
_DRAWING = re.compile(r"\[asy\].*?(?:\[/asy\]|\Z)", re.DOTALL)
# One match per run of backslashes: else a long run would be scanned again from each of them.
_BACKSLASHES = r"(?<!\\)\\+"
_ENVIRONMENT = re.compile(_BACKSLASHES + r"(?:begin|end)\s*\{[a-z]+\*?\}(?:\s*\{[clr|@\s]*\})?")
# A thin space inside a number is not a space: 24,\!000.
_THIN_SPACE = re.compile(r"\\!|\{,\}(?=\d{3})")
_SPACE = re.compile(r"\\[,;:> ]|\\\\+(?![a-z]{2})|~")
_ARGUMENT = r"\s*(\{[^{}]*\}|[^\W_])"
_FRACTION = re.compile(rf"{_BACKSLASHES}[cdt]?frac{_ARGUMENT}{_ARGUMENT}")
_GROUP = re.compile(_BACKSLASHES.join(("(", r"(?![cdt]?frac)[a-z]+\*?|\^)\s*\{([^{}]*)\}")))
_INDEX = re.compile(r"_\{(\w+)\}")
_COMMAND = re.compile(_BACKSLASHES + r"([a-z]+)\*?")
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_RAISED = re.compile("[\u2070\u00b9\u00b2\u00b3\u2074-\u2079]+")
_LOWERED = re.compile("[\u2080-\u2089]+")
_DEPTH = 8


def words(text: str) -> list[str]:
    """Return the words of a text, in lower case, without punctuation.

    Digits and letters of other scripts are words, and so is each Chinese or Japanese character;
    Unicode's compatibility forms (full width, ligatures) are replaced by plain characters. Names of
    LaTeX commands and drawings in Asymptote are dropped.
    """
    plain = _lower(text)
    if "[asy]" in plain:
        plain = _DRAWING.sub(" ", plain)
    return _WORDS.findall(_without_latex(plain, keep_names=False))


def words_and_signs(text: str) -> list[str]:
    r"""Return the words of a text and the signs of its formulas: ``2*3`` is not ``2+3``.

    Other names of LaTeX commands are words, too, if they have a meaning: ``\overline``.
    """
    return _WORDS_AND_SIGNS.findall(_without_latex(_lower(text), keep_names=True))


def ngrams(sequence: Sequence[str], n: int) -> Iterator[str]:
    """Yield each run of `n` words, joined by spaces; nothing if there are fewer."""
    for start in range(len(sequence) - n + 1):
        yield " ".join(sequence[start : start + n])


def _lower(text: str) -> str:
    if not text.isascii():
        text = _LOWERED.sub(r"_\g<0>", _RAISED.sub(r"^\g<0>", text))
        text = unicodedata.normalize("NFKC", text).replace("\u2212", "-")
    return text.casefold()


def _without_latex(text: str, keep_names: bool) -> str:
    if "\\" in text:
        text = _ENVIRONMENT.sub(" ", _THIN_SPACE.sub("", text))
        text = _SPACE.sub(" ", text)
        for _ in range(_DEPTH):
            before = text
            # From the inside out, so that no argument contains braces.
            text = _GROUP.sub(r"\1 \2 ", _FRACTION.sub(r" \1/\2 ", text))
            if text == before:
                break
        text = _COMMAND.sub(lambda command: _plain_name(command[1], keep_names), text)
        text = _INDEX.sub(r"_\1", text)
    return _THOUSANDS.sub("", text)


def _plain_name(name: str, keep: bool) -> str:
    if sign := _SIGNS.get(name):
        return sign
    if letter := _GREEK.fullmatch(name):
        # Unicode spells this letter differently.
        spelled = letter[1].replace("lambda", "lamda")
        return unicodedata.lookup(f"GREEK SMALL LETTER {spelled}")
    if name in _SPOKEN or (keep and name not in _TYPESETTING):
        return f" {name} "
    return " "
