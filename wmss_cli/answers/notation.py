r"""Normalises what can be written in many ways: spaces, signs, fractions, words in ``\text{}``."""

from __future__ import annotations

import re

from wmss_cli.answers.characters import plain_characters
from wmss_cli.answers.number import CHANGING_WORDS, join_thousands

_SIGNS = str.maketrans(
    {
        "−": "-",  # noqa: RUF001
        "–": "-",  # noqa: RUF001
        "×": r"\times ",  # noqa: RUF001
        "·": r"\cdot ",
        "÷": r"\div ",
        "π": r"\pi ",
        "°": r"^\circ ",
        "≤": r"\le ",
        "≥": r"\ge ",
        "≠": r"\ne ",
        "≈": r"\approx ",
        "∈": r"\in ",
        "∩": r"\cap ",
        "∛": r"\sqrt[3]",
        "ℝ": r"\mathbb{R}",  # noqa: RUF001
        "ℤ": r"\mathbb{Z}",  # noqa: RUF001
        "α": r"\alpha ",  # noqa: RUF001
        "β": r"\beta ",
        "θ": r"\theta ",
        "φ": r"\phi ",
        "λ": r"\lambda ",
        "ω": r"\omega ",
        "∞": r"\infty ",
        "∪": r"\cup ",  # noqa: RUF001
        "±": r"\pm ",
        "²": "^2",
        "³": "^3",
        "∅": r"\emptyset ",
    }
)
# Size, colour and other looks; the label of an option; words that lead to the value.
_LOOKS = re.compile(
    r"\\[bB]igg?[lrm]?(?![A-Za-z])|\\(?:text)?color\s*\{[^{}]*\}"
    r"|\\(?:display|text)style(?![A-Za-z])|\\(?:[lL]arge|LARGE|[hH]uge|bf|it|rm)(?![A-Za-z])"
    r"|\\(?:(?:black)?square|checkmark|qed)(?![A-Za-z])|\\[vh]space\*?\s*\{[^{}]*\}"
)
# \boldsymbol{42} and \underline{42} are 42.
_STYLED = re.compile(
    r"\\(?:boldsymbol|bm|mathbf|mathit|underline|emph|mathsf|ensuremath)\s*\{([^{}]*)\}"
)
_GAPS = r"(?:\s|\\[ ,;:!]|\\q?quad(?![a-z])|~)*"
_TEXTS = r"\\(?:text(?:rm|bf|it|normal)?|mathrm|mbox|rm)"
# 12^{\text{th}}, 12th.
_ORDINAL = re.compile(
    rf"(?<=\d)(?:\s*\^\s*)?(?:\{{\s*)?(?:{_TEXTS}\s*)?\{{\s*(?:st|nd|rd|th)\s*\}}\s*(?:(?<=\}})\}})?"
    r"|(?<=\d)(?:st|nd|rd|th)\b"
)
_ROMAN_LETTER = re.compile(r"\\(?:mathrm|operatorname|rm)\s*\{\s*([A-Za-z])\s*\}")
_NUMBER_END = re.compile(rf"[\d}})]{_GAPS}\Z")
_UNIT_LETTERS = frozenset("mgsLlNJWVAKCFhTtb")
_CODES = ("USD", "EUR", "GBP")
# 42 = n, as n = 42; 2.5 x 10^5; the sine of degrees.
_TURNED = re.compile(r"^\s*([-+]?\d[\d.]*)\s*=\s*([A-Za-z])\s*$")
_POWER_OF_TEN = re.compile(r"(?<=\d)\s*[xX]\s*(?=10\s*\^)")
_TRIG_DEGREES = re.compile(
    r"\\(sin|cos|tan|cot|sec|csc)\s*[({]?\s*(\d+(?:\.\d+)?)\s*\^\s*\{?\s*\\circ\s*\}?\s*[)}]?"
)
_LOG_BASE = re.compile(r"\\log_(\d)")
# W(x) = 1orW(x) = -1
_GLUED = re.compile(r"(?<=\d)(?:or|and)(?=[A-Za-z]\w*\s*[(=])")
_ESCAPED_TWICE = re.compile(r"\\(?=\\[A-Za-z{}])")
# W(x) = 1 and W(n) = 1 say the same about W.
_FUNCTION = re.compile(r"(?<![A-Za-z\\])([A-Za-z])\s*\(\s*[a-z]\s*\)\s*(?==)")
_ROW_SPACE = re.compile(r"\\\\\s*\[\s*-?[\d.]+\s*(?:pt|mm|cm|em|ex|in)\s*\]")
_PERCENT = re.compile(
    rf"{_GAPS}(?:{_TEXTS}\s*\{{\s*(?:\\?%|per\s?cent|pct)\s*\}}|(?<=[\d\s}}])per\s?cent\b|\\?%)\.?$"
)
_IN_BASE = re.compile(
    rf"^\(?(?P<digits>[0-9][0-9A-F]*|[A-F]+[0-9][0-9A-F]*)\)?"
    rf"(?:_\s*\{{?\s*(?:{_TEXTS}\s*\{{\s*)?(?P<low>[\w ]+?)[\s}}]*"
    rf"|{_GAPS}(?:{_TEXTS}\s*\{{\s*)?\(?\s*(?:in\s+)?base(?:[- ]|\}}\s*)(?P<word>\w+)"
    r"\s*\)?[\s}]*)$"
)
_CONGRUENT = re.compile(
    r"(?:(?P<name>[A-Za-z]\s*\\equiv\s*))?(?P<residue>[^=\\]+?)\s*"
    r"(?:\\pmod\s*(?:\{(?P<m1>[^{}]+)\}|(?P<m2>\w))"
    r"|\((?:\\[bp]?mod|\\(?:text|mathrm)\{\s*mod\s*\}|mod)\s*\{?(?P<m3>\w+)\}?\s*\)"
    r"|(?(name)\\b?mod\s*\{?(?P<m4>\w+)\}?|(?!)))"
)
_DEGREES = re.compile(r"(\d+(?:\.\d+)?)\s*(?:\^\s*\{?\s*\\circ\s*\}?|°)")
_PLUS_MINUS, _MINUS_PLUS = (re.compile(rf"\\{name}(?![a-z])") for name in ("pm", "mp"))
_SCALED = re.compile(
    rf"^(?P<value>.*[\d}})]){_GAPS}(?:{_TEXTS}\s*\{{\s*|\s)"
    rf"(?P<scale>hundred|thousand|(?:m|b|tr)illion|dozen)s?\b(?!.*\b(?:{CHANGING_WORDS})\b)"
    r"[^{}]*\}?$"
)
_FACTORS = {
    **{"hundred": "100", "thousand": "1000", "million": "10^{6}", "billion": "10^{9}"},
    **{"trillion": "10^{12}", "dozen": "12"},
}
_BASES = {
    **{"two": "2", "three": "3", "four": "4", "five": "5", "six": "6", "seven": "7"},
    **{"eight": "8", "nine": "9", "ten": "10", "twelve": "12", "sixteen": "16"},
}
_LABEL = re.compile(
    r"(?:\\text(?:bf)?\s*\{\s*\([A-E]\)\s*\}(?:\s|\\[ ,;:])*(?=[-\w({]|\.\d|\\(?![\])]))"
    r"|\([A-E]\)\s+(?=[-\d$\\]))"
)
_LEADING_SIGN = re.compile(r"^(?:=|≈|\\approx(?![a-z])|\\sim(?![a-z]))\s*(?=\S)")
_LEADING_WORDS = re.compile(r"\\text\s*\{[^{}]*(?:\bis|[:=])\s*\}\s*(?=\S)")
_TEXT_CURRENCY = re.compile(
    r"\\(?:text|mathrm|mbox)\s*\{\s*((?:US|CA|AU|NZ|HK|[CAS])?\s?\\?[$€£¥₹]|USD|EUR|GBP|Rs\.?"
    r"|(?:US|CA|AU|NZ|HK)(?=\s*\}\s*\\?\$))\s*\}"
)
_TEXT_SCALE = re.compile(
    rf"(?<=\d){_GAPS}{_TEXTS}\s*\{{\s*((?:hundred|thousand|(?:m|b|tr)illion|dozen)[^{{}}]*)\}}"
)
_WHOLE_NUMBERS = re.compile(r"(?<=\S),\s*[a-z]\s*\\in\s*\\mathbb\s*\{?[ZN]\}?$")
_SAME = (
    (r"\lbrace", r"\{"),
    (r"\rbrace", r"\}"),
    (r"\varnothing", r"\emptyset"),
    (r"\degree", r"^\circ"),
    ("~", " "),
)
# The notation of programs: 2*pi, x**2.
_PROGRAM_PI = re.compile(r"(?<![A-Za-z\\])pi(?![A-Za-z])")
_PROGRAM_POWER = re.compile(r"(?<=[\w)])\s?\*\*\s?(?=[\w(-])")
# 0.333...: at least three times the same digit.
_ONGOING = re.compile(r"(?<![\d.])(\d+\.\d*?)(\d)\2{2,}(?:\\l?dots|\.{3}|…)")
_ROOT_SIGN = re.compile(r"√\s*(\d+|[A-Za-z]|(?=[({]))")
_MIXED = re.compile(r"(?<![\d.])(\d+)\s+(\d+)/(\d+)(?![\d.])")
_TEXT_NUMBER = re.compile(r"\\text\s*\{\s*(\\?\$?-?\d[^{}]*)\}\s*")
# Between these, "and" and "or" have their usual meaning.
_INEQUALITY = re.compile(r"[<>≤≥]|\\[lg](?:t|eq?|eqslant)(?![A-Za-z])")
_SOLUTIONS = re.compile(r"(?<![,\s])\s*\\quad\s*\\text\{\s*(?:and|or)\s*\}\s*\\quad")
_TEXT = re.compile(r"\\(?:text(?:bf|it|rm|normal)?|mbox|mathrm|mathbf)\s*\{([^{}]*)\}")
_SPACING = re.compile(
    r"\\left(?![a-z])|\\right(?![a-z])|\\displaystyle|\\[,!;: ]|\\[()\[\]]|\$|\s+"
)
# The sentence ends inside its last formula: "so \[ x = 5. \]".
_SENTENCE_MARK = re.compile(r"(?:\\[,;!]\s*)?[.,;](?=\s*(?:\\[\])]|\$\$)|\$)")
# Between two digits a space means something: 1 1/2 is not 11/2.
_GAP = re.compile(r"(?<!\d) +| +(?!\d)")
_ANGLE = re.compile(r"\\[lr]angle(?![a-z])")
_MARKDOWN = re.compile(r"(\*{1,3}|`)(?!\1)(?P<inner>[^*`]+)\1")
_REPEATING = re.compile(r"(?<!\d)(\d+)\.(\d*)\\(?:overline|bar)\{(\d+)\}")
_CHOICE = re.compile(r"\(([A-Za-z])\)")


def tidy(text: str) -> str:
    r"""Return a text in a normal form for what means the same everywhere.

    It has commas for thousands, a semicolon for ``\quad\text{and}\quad``, round brackets for
    ``\langle`` and ``\rangle``, and no full stop at the end of a marked formula. What surrounds the
    whole is removed: spaces, Markdown, sizes and colours, the label of an option,
    ``\text{The answer is }`` before it, ``, n \in \mathbb{Z}`` after it.

    Examples
    --------
    >>> tidy(r"1{,}800"), tidy(r"a=1, b=2 \quad \text{or} \quad a=3, b=4")
    ('1,800', 'a=1, b=2; a=3, b=4')
    """
    text = plain_characters(text)
    if "begin" not in text:
        text = _ESCAPED_TWICE.sub("", text)
    for sign, other in _SAME:
        text = text.replace(sign, other)
    text = _STYLED.sub(r"\1", _ROW_SPACE.sub(r"\\\\", text))
    text = _TEXT_CURRENCY.sub(_currency, _LOOKS.sub("", text))
    text = _TEXT_SCALE.sub(r" \1", text).strip()
    text = _LEADING_SIGN.sub("", _LEADING_WORDS.sub("", text))
    text = _WHOLE_NUMBERS.sub("", _LABEL.sub("", text))
    # A comma at the end belongs to the sentence; a backslash there remains of a LaTeX space.
    text = _SENTENCE_MARK.sub("", join_thousands(text))
    text = text.strip(" \t\n\r,;").rstrip("\\").rstrip()
    text = _GLUED.sub(r"\\text{ \g<0> }", text)
    if _INEQUALITY.search(text) is None:
        text = _SOLUTIONS.sub(";", text)
    if marked := _MARKDOWN.fullmatch(text):
        text = marked["inner"].strip()
    if text.rstrip(".").endswith(("%", "cent", "pct", "}")):
        text = _PERCENT.sub(r"\\%", text)
    text = _ORDINAL.sub("", text)
    if (numeral := _IN_BASE.fullmatch(text)) and (base := _base(numeral)):
        text = f"{numeral['digits']}_{base}"
    return _ANGLE.sub(lambda match: "()"[match[0] == r"\rangle"], text)


def in_latex(formula: str) -> str:
    r"""Return a formula with signs and mixed fractions of plain text converted to LaTeX.

    A repeating decimal becomes a fraction, since math-verify cannot read it.

    Examples
    --------
    >>> in_latex("2√3"), in_latex("1 1/2"), in_latex(r"\text{5 miles}")
    ('2\\sqrt{3}', '1\\frac{1}{2}', '5 miles')
    """
    formula = _TURNED.sub(r"\2=\1", _ROMAN_LETTER.sub(_roman, formula))
    formula = _TRIG_DEGREES.sub(
        r"\\\1(\\frac{\2 \\pi}{180})", _POWER_OF_TEN.sub(r"\\times ", formula)
    )
    if scaled := _SCALED.fullmatch(formula):
        formula = rf"({scaled['value']})\cdot {_FACTORS[scaled['scale']]}"
    formula = _FUNCTION.sub(r"\1", formula)
    formula = _LOG_BASE.sub(r"\\log_{\1}", formula)
    formula = _PROGRAM_PI.sub(r"\\pi ", _PROGRAM_POWER.sub("^", formula))
    formula = _REPEATING.sub(_fraction, _ONGOING.sub(r"\1\\overline{\2}", formula))
    formula = _MIXED.sub(r"\1\\frac{\2}{\3}", _TEXT_NUMBER.sub(r"\1", formula))
    return _ROOT_SIGN.sub(_root, formula).translate(_SIGNS)


def normal_form(text: str) -> str:
    r"""Return a formula or a word for comparison letter by letter.

    What is equal in this form is equal in value; case matters in formulas, not in words.

    Examples
    --------
    >>> normal_form(r"\left( 3, \dfrac{\pi}{2} \right)") == normal_form(r"(3,\frac{\pi}{2})")
    True
    >>> normal_form(r"\text{(C)}"), normal_form(r"\text{Evelyn}."), normal_form("1 1/2")
    ('C', 'evelyn', '1 1/2')
    """
    text = _SPACING.sub(" ", _TEXT.sub(r"\1", text)).strip(" .")
    text = _GAP.sub("", text.replace("dfrac", "frac").replace("tfrac", "frac"))
    if choice := _CHOICE.fullmatch(text):
        return choice[1]
    return text.casefold() if len(text) > 1 and text.isalpha() else text


def congruence(text: str) -> tuple[str, str] | None:
    r"""Return the residue and the modulus of a congruence such as ``x \\equiv 2 \\pmod{5}``.

    Examples
    --------
    >>> congruence(r"x \equiv 2 \pmod 5"), congruence("2")
    (('2', '5'), None)
    """
    match = _CONGRUENT.fullmatch(text)
    return (
        (match["residue"], next(filter(None, match.group("m1", "m2", "m3", "m4"))))
        if match
        else None
    )


def in_radians(formula: str) -> str | None:
    r"""Return a formula with its degrees in radians; None if it has none.

    Examples
    --------
    >>> in_radians(r"(3, 90^\circ)"), in_radians("3")
    ('(3, \\frac{90 \\pi}{180})', None)
    """
    turned, count = _DEGREES.subn(r"\\frac{\1 \\pi}{180}", formula)
    return turned if count else None


def both_signs(formula: str) -> str | None:
    r"""Return a formula with ``\\pm`` as the list of its two values.

    Lists and sets are left to math-verify, which reads the sign in them.

    Examples
    --------
    >>> both_signs(r"\frac{2 \pm a}{2}")
    '\\frac{2 + a}{2}, \\frac{2 - a}{2}'
    """
    if not _PLUS_MINUS.search(formula) or "," in formula or r"\{" in formula:
        return None
    plus = _PLUS_MINUS.sub("+", _MINUS_PLUS.sub("-", formula))
    minus = _PLUS_MINUS.sub("-", _MINUS_PLUS.sub("+", formula))
    return f"{plus}, {minus}"


def _currency(match: re.Match[str]) -> str:
    return f" {match[1]}" if match[1].isalpha() and match[1] in _CODES else match[1]


def _roman(match: re.Match[str]) -> str:
    """Return the letter itself, unless it is the unit of the number before it."""
    behind_number = _NUMBER_END.search(match.string, 0, match.start()) is not None
    return match[0] if behind_number and match[1] in _UNIT_LETTERS else match[1]


def _base(numeral: re.Match[str]) -> str | None:
    named = (numeral["low"] or numeral["word"]).casefold().removeprefix("base").strip()
    base = _BASES.get(named, named)
    return base if base.isdecimal() else None


def _fraction(decimal: re.Match[str]) -> str:
    whole, fixed, repeated = decimal.groups()
    difference = int(whole + fixed + repeated) - int(whole + fixed)
    return rf"\frac{{{difference}}}{{{'9' * len(repeated) + '0' * len(fixed)}}}"


def _root(match: re.Match[str]) -> str:
    return rf"\sqrt{{{match[1]}}}" if match[1] else r"\sqrt"
