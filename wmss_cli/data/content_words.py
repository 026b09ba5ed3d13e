"""What a problem is about, apart from the usual wording of problems.

"where m and n are relatively prime positive integers, find m + n" occurs in a hundred unrelated
problems: it describes the form of the answer. So do "express your answer as a common fraction" and
"write a Python function to find". Such words are not content.
"""

from __future__ import annotations

from collections.abc import Iterable

_WORDS = """
a an the this that these those there here it its he she they them his her their we us our you
your i my me one of in on at to for from by with without into over under between among within
as than then so if when while where which who whose whom what how why and or not nor but both
    either neither each every all any some no none other another same such only also more most less
least is are was were be been being am do does did has have had can could will would shall
should may might must let
find compute determine calculate evaluate solve simplify express write give show prove state
enter suppose given assume consider define denote
answer form value values number numbers integer integers positive negative nonnegative real
prime relatively coprime square squares cube sum product difference quotient remainder divided
divisible divisor expressed written simplest common fraction fractions decimal nearest whole
reduced lowest terms exactly equal equals possible solution solutions satisfies satisfy
following below above total many much greatest smallest largest maximum minimum
problem question questions option options choice choices correct letter unit units
function python program code def return returns list string input output
"""
_FRAME = frozenset(_WORDS.split())


def content(words: Iterable[str]) -> set[str]:
    """Return the words that say what a problem is about: no frame, variables or single digits."""
    return {word for word in words if word not in _FRAME and (len(word) > 1 or not word.isascii())}
