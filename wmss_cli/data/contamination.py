"""Training samples that hold a benchmark's question."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from wmss_cli.data.words import ngrams, words, words_and_signs

WORDS = 13
"""Words in a row that are no coincidence: the length that GPT-3 and its successors look for."""


@dataclass(frozen=True)
class Question:
    """A question that must not be trained on."""

    task: str
    id: str
    text: str


@dataclass(frozen=True)
class Match:
    """Where a sample meets a benchmark.

    Attributes
    ----------
    task, id : str
        Of the question that it meets first.
    how : str
        ``equal``, or the words that both have.
    """

    task: str
    id: str
    how: str


class Benchmarks:
    """The questions of benchmarks, to be looked for in samples.

    A sample meets a question if it holds 13 of its words in a row anywhere, or if its prompt is the
    question but for case, punctuation and white space, however short that is. The signs of
    formulas are no punctuation there.

    References
    ----------
    T. Brown et al., "Language models are few-shot learners" (2020), appendix C.
    """

    def __init__(self, questions: Iterable[Question]) -> None:
        self._whole: dict[bytes, Question] = {}
        self._parts: dict[bytes, Question] = {}
        for question in questions:
            if whole := words_and_signs(question.text):
                self._whole.setdefault(_key(" ".join(whole)), question)
            for part in ngrams(words(question.text), WORDS):
                self._parts.setdefault(_key(part), question)

    def match(self, prompt: str, completion: str) -> Match | None:
        """Return the first question that a sample meets, or None."""
        if question := self._whole.get(_key(" ".join(words_and_signs(prompt)))):
            return Match(question.task, question.id, "equal")
        for text in (words(prompt), words(completion)):
            for part in ngrams(text, WORDS):
                if question := self._parts.get(_key(part)):
                    return Match(question.task, question.id, part)
        return None


def _key(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
