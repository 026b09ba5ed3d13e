r"""Replaces characters that look or mean the same by one, so that all else reads ASCII and LaTeX.

Models write a minus as U+2212, thin spaces between thousands, full-width digits and full stops,
invisible characters, superscripts and emoji. No other module needs to know them.
"""

from __future__ import annotations

import re
import unicodedata

_SUPERSCRIPTS = {
    **dict(zip("⁰¹²³⁴⁵⁶⁷⁸⁹", "0123456789", strict=True)),
    **{"⁺": "+", "⁻": "-", "⁽": "(", "⁾": ")", "ⁿ": "n"},
}
_SUBSCRIPTS = dict(zip("₀₁₂₃₄₅₆₇₈₉", "0123456789", strict=True))
_SUPERSCRIPT = re.compile(f"[{''.join(_SUPERSCRIPTS)}]+")
_SUBSCRIPT = re.compile(f"[{''.join(_SUBSCRIPTS)}]+")
# After a number, a power of metres and not of a variable.
_AREA = re.compile(r"(?<=\d)\s?([ckdm]?m)([²³])")
# A space, or an apostrophe as in Switzerland, between groups of three digits.
_THOUSANDS = re.compile(
    r"(?<![\d.,])(\d{1,3})((?:[\u00a0\u2004-\u200a\u202f\u205f'’]\d{3})+)(?!\d)"  # noqa: RUF001
)
# ½ is a fraction, and after a digit a part of a mixed number.
_FRACTIONS = {
    chr(code): unicodedata.normalize("NFKC", chr(code)).replace("\N{FRACTION SLASH}", "/")
    for code in (*range(0xBC, 0xBF), *range(0x2150, 0x2190))
    if unicodedata.decomposition(chr(code)).startswith("<fraction>")
}
_FRACTION = re.compile(rf"(\d?)([{''.join(_FRACTIONS)}])")
# Thousands in full-width digits.
_WIDE_THOUSANDS = re.compile(
    r"(?<![\d.,，．])[０-９]{1,3}(?:，[０-９]{3})+(?![\d，])"  # noqa: RUF001
)
# An en dash is a minus only before a value, and if it joins nothing.
_DASH_MINUS = re.compile(r"(?<![\w)\]}$.%–—])–(?=[\d.√π$\\(])")  # noqa: RUF001
_FULL_STOP = re.compile(r"[。｡](?=[^\s\n])")
_COMMA = re.compile(r"[，、､](?=[^\s\n])")  # noqa: RUF001
_SAME = {
    **dict.fromkeys("−﹣‐‑➖", "-"),  # noqa: RUF001
    **dict.fromkeys("⁄∕", "/"),  # noqa: RUF001
    **dict.fromkeys("⋅∙‧・", "·"),
    **dict.fromkeys("✕✖⨯", "×"),  # noqa: RUF001
    **dict.fromkeys("“”„‟「」『』«»", '"'),
    **dict.fromkeys("‘’‚‛", "'"),  # noqa: RUF001
    **dict.fromkeys("【】〔〕", " "),  # noqa: RUF001
    **{"∗": "*", "∶": ":", "。": ".", "｡": ".", "、": ",", "､": ","},  # noqa: RUF001
    **{"℃": "°C", "℉": "°F", "º": "°", "˚": "°", "∣": "|", "〜": "~", "➕": "+", "➗": "÷"},  # noqa: RUF001
}
# Symbols with a meaning in mathematics; all others are decoration.
_KEPT_SYMBOLS = frozenset("°")
_DECORATION = frozenset("∎□■▪▫◻◼✓✔✅☑➡→⇒⟹")


def plain_characters(text: str) -> str:
    r"""Return a text with the characters of these kinds replaced by plain ones.

    Replaced are minus signs, full-width and other digits, letters and punctuation, thin spaces
    between thousands, superscripts (by ``^{2}``) and subscripts. Removed are invisible characters,
    emoji and the box at the end of a proof. Dashes between words, mathematical signs and letters
    of any language stay.

    Examples
    --------
    >>> plain_characters("\u22121\u202f234\uff0c\uff11\uff12。"), plain_characters("5 cm²\u200b 🎉")
    ('-1,234, 12.', '5\\text{ cm}^{2}  ')
    """
    if text.isascii():
        return text
    text = _THOUSANDS.sub(lambda match: match[1] + re.sub(r"\D", ",", match[2]), text)
    text = _WIDE_THOUSANDS.sub(lambda match: match[0].replace("，", ","), text)  # noqa: RUF001
    text = _FRACTION.sub(_written_out, text)
    text = _FULL_STOP.sub(". ", _COMMA.sub(", ", _DASH_MINUS.sub("-", text)))
    text = _AREA.sub(lambda match: rf"\text{{ {match[1]}}}{match[2]}", text)
    text = _SUPERSCRIPT.sub(lambda match: f"^{{{_translated(match[0], _SUPERSCRIPTS)}}}", text)
    text = _SUBSCRIPT.sub(lambda match: f"_{{{_translated(match[0], _SUBSCRIPTS)}}}", text)
    return "".join(map(_plain, text))


def _written_out(match: re.Match[str]) -> str:
    return f"{match[1]} {_FRACTIONS[match[2]]}" if match[1] else _FRACTIONS[match[2]]


def _translated(text: str, table: dict[str, str]) -> str:
    return "".join(table[character] for character in text)


def _plain(character: str) -> str:
    if character.isascii():
        return character
    if (same := _SAME.get(character)) is not None:
        return same
    code = ord(character)
    category = unicodedata.category(character)
    if category == "Nd":
        return str(unicodedata.decimal(character))
    if 0xFF00 <= code <= 0xFFEF or 0x1D400 <= code <= 0x1D7FF:
        return unicodedata.normalize("NFKC", character)
    if 0x24B6 <= code <= 0x24CF:  # a letter in a circle is the label of a choice
        return f"({chr(ord('A') + code - 0x24B6)})"
    if category == "Cf" or 0xFE00 <= code <= 0xFE0F:
        return ""
    if category == "Zs":
        return " "
    is_symbol = category == "So" and character not in _KEPT_SYMBOLS
    return " " if is_symbol or character in _DECORATION else character
