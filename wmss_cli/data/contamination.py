"""Training samples that contain a benchmark's question.

A sample is judged by what it shares with a question: all of it, or a run of words that says what
the question is about and that hardly any other text contains.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from wmss_cli.data.words import words, words_and_signs

WORDS = 13
"""A run of this many words is no coincidence: the length used for GPT-3 and its successors."""

COMMON = 3
"""A phrase is common if this many other texts contain it in an otherwise different context."""

_CONTENT = 3
"""A phrase with fewer content words describes the form of the answer, not the problem."""
_WHOLE = 0.9
"""A sample contains a whole question if its phrases cover this share of the question's words."""
_APART = 0.6
"""A text is different if it has less than this share of the question's other content words."""
_SPECIFIC = 2
"""A question is looked for inside a prompt only if it has this many specific words."""
_PREFIX = 5
"""Number of words after which it is clear that sentences do not begin a question."""

# "where m and n are relatively prime positive integers, find m + n" occurs in a hundred unrelated
# problems: it describes the form of the answer. So do "express your answer as a common fraction"
# and "write a Python function to find". Such words are not content.
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

_FIRST = re.compile(r"[^\W_]+")
_SENTENCE = re.compile(
    "(?<=[.!?:;])[\"'\u201d\u2019)\\]$*_]*\\s+|\\n+|(?<=[\u3002\uff01\uff1f\uff1a\uff1b])"
)


@dataclass(frozen=True)
class Question:
    """A question that must not be trained on."""

    task: str
    id: str
    text: str


@dataclass(frozen=True)
class Match:
    """Where a sample matches a benchmark.

    Attributes
    ----------
    task, id : str
        The first question that it matches.
    how : str
        ``equal``, or the words that they share.
    """

    task: str
    id: str
    how: str


@dataclass(frozen=True)
class Overlap:
    """What a sample shares with benchmarks.

    Attributes
    ----------
    whole : Match or None
        A question that it contains in full; then phrases are not looked for.
    phrases : tuple of int
        Phrases that count unless they are common (see :meth:`Benchmarks.elsewhere`), in the order
        of the sample.
    apart : tuple of int
        Those of them whose context in the sample is different from the benchmark's.
    """

    whole: Match | None
    phrases: tuple[int, ...] = ()
    apart: tuple[int, ...] = ()


class Benchmarks:
    """The questions of benchmarks, to be looked for in samples.

    A sample matches a question

    - if whole sentences of its prompt equal the question, apart from case, punctuation, white space
      and the notation of formulas. The signs in formulas count;
    - if it has 90 % of the question's words, in phrases of 13 words in a row;
    - if it has one such phrase that has content and is rare: fewer
      than three other texts, of the benchmarks and of the corpus, contain it in an otherwise
      different context.

    Phrases are numbered in the order of the questions, so equal questions give equal numbers.

    References
    ----------
    T. Brown et al., "Language models are few-shot learners" (2020), appendix C.
    """

    def __init__(self, questions: Iterable[Question]) -> None:
        self._questions = list(questions)
        self._words = [words(question.text) for question in self._questions]
        self._content = [_content_words(found) for found in self._words]
        self._whole: dict[str, int] = {}
        self._specific: dict[str, int] = {}
        """Questions to look for inside a text, with and without the instructions for the answer."""
        self._beginnings: set[str] = set()
        self._prefixes: set[str] = set()
        self._longest = 0
        self._phrases: dict[str, int] = {}
        self._owners: list[list[tuple[int, int]]] = []
        """By phrase: the questions that contain it, and at which position."""
        for number, found in enumerate(self._words):
            self._add_whole(number)
            for place in range(len(found) - WORDS + 1):
                phrase = self._phrases.setdefault(
                    " ".join(found[place : place + WORDS]), len(self._owners)
                )
                if phrase == len(self._owners):
                    self._owners.append([])
                self._owners[phrase].append((number, place))
        self._vocabulary = {word for found in self._words for word in found}
        self._places: list[dict[int, int]] = [{} for _ in self._questions]
        """By question: its phrases, and at which position."""
        for phrase, owners in enumerate(self._owners):
            for number, place in owners:
                self._places[number][phrase] = place
        self._elsewhere = {phrase: self._count_elsewhere(phrase) for phrase in self.phrases}
        self._counts = [
            self._elsewhere[phrase] < COMMON and _has_content(self._run(phrase))
            for phrase in self.phrases
        ]

    @property
    def phrases(self) -> range:
        """The numbers of all phrases."""
        return range(len(self._owners))

    def elsewhere(self, phrase: int) -> int:
        """Return how many other, different questions contain a phrase, up to COMMON."""
        return self._elsewhere[phrase]

    def name(self, phrase: int) -> Match:
        """Return the first question that contains a phrase, and the phrase."""
        question = self._questions[self._owners[phrase][0][0]]
        return Match(question.task, question.id, " ".join(self._run(phrase)))

    def overlap(self, prompt: str, completion: str) -> Overlap:
        """Return what a sample shares with the questions."""
        number = self._whole.get(" ".join(words_and_signs(prompt)))
        for text in (prompt, completion):
            number = self._find_sentences(text) if number is None else number
        if number is not None:
            question = self._questions[number]
            return Overlap(Match(question.task, question.id, "equal"))
        phrases: dict[int, bool] = {}
        for told in (words(prompt), words(completion)):
            found = list(self._find_phrases(told))
            shared: dict[int, dict[int, int]] = defaultdict(dict)
            for place, phrase in found:
                for number, there in self._owners[phrase]:
                    shared[number][place] = there
            for number, places in shared.items():
                if self._covers(number, places.values()):
                    return Overlap(self.name(self._phrase_at(number, min(places.values()))))
            apart: dict[int, bool] = {}
            for _, phrase in found:
                if not self._counts[phrase]:
                    continue
                for number, _ in self._owners[phrase]:
                    if number not in apart:
                        apart[number] = self._tells_apart(number, told, shared[number])
                alone = all(apart[number] for number, _ in self._owners[phrase])
                phrases[phrase] = phrases.get(phrase, True) and alone
        return Overlap(None, tuple(phrases), tuple(p for p, alone in phrases.items() if alone))

    def _add_whole(self, number: int) -> None:
        sentences = [
            words_and_signs(part) for part in _SENTENCE.split(self._questions[number].text)
        ]
        tokens = words_and_signs(self._questions[number].text)
        if tokens:
            self._whole.setdefault(" ".join(tokens), number)
        # Instructions for the form of the answer are not part of the question.
        while len(sentences) > 1 and not _specific(sentences[-1]):
            sentences.pop()
        for part in (tokens, [token for sentence in sentences for token in sentence]):
            if len(_specific(part)) >= _SPECIFIC:
                self._specific.setdefault(" ".join(part), number)
                self._longest = max(self._longest, len(part))
                self._beginnings.add(_first_word(self._questions[number].text))
                self._prefixes.add(" ".join(part[:_PREFIX]))

    def _find_sentences(self, text: str) -> int | None:
        """Return the question that equals some whole sentences of a text."""
        sentences = [sentence for sentence in _SENTENCE.split(text) if sentence]
        for first, sentence in enumerate(sentences):
            # Most sentences begin like no question.
            if _first_word(sentence) not in self._beginnings:
                continue
            tokens: list[str] = []
            for further in sentences[first:]:
                tokens += words_and_signs(further)
                if len(tokens) > self._longest:
                    break
                if len(tokens) >= _PREFIX and " ".join(tokens[:_PREFIX]) not in self._prefixes:
                    break
                if (number := self._specific.get(" ".join(tokens))) is not None:
                    return number
        return None

    def _find_phrases(self, text: Sequence[str]) -> Iterator[tuple[int, int]]:
        """Yield the phrases in a text, each with its position."""
        known = 0
        for last, word in enumerate(text):
            # Most windows contain a word that is in no question.
            known = known + 1 if word in self._vocabulary else 0
            if known >= WORDS:
                first = last + 1 - WORDS
                phrase = self._phrases.get(" ".join(text[first : last + 1]))
                if phrase is not None:
                    yield first, phrase

    def _covers(self, number: int, places: Iterable[int]) -> bool:
        covered = {word for place in places for word in range(place, place + WORDS)}
        return len(covered) >= _WHOLE * len(self._words[number])

    def _tells_apart(self, number: int, text: Sequence[str], places: Mapping[int, int]) -> bool:
        """Return whether the text around shared phrases differs from the question.

        Parameters
        ----------
        number : int
            Index of the question.
        text : sequence of str
            The words of the text.
        places : mapping of int to int
            The positions of the phrases in the text, and in the question.
        """
        question = self._words[number]
        run = {word for place in places.values() for word in question[place : place + WORDS]}
        told = {word for word in self._content[number] - run if not word.isdecimal()}
        around: set[str] = set()
        for place, there in places.items():
            start = place - there
            around.update(text[max(0, start - len(question)) : start + 2 * len(question)])
        return len(told & around) < _APART * len(told)

    def _count_elsewhere(self, phrase: int) -> int:
        different: list[int] = []
        for number in dict.fromkeys(number for number, _ in self._owners[phrase]):
            if all(self._differ(number, other) for other in different):
                different.append(number)
                if len(different) > COMMON:
                    break
        return len(different) - 1

    def _differ(self, one: int, other: int) -> bool:
        there = self._places[other]
        places = {there[p]: place for p, place in self._places[one].items() if p in there}
        return self._tells_apart(one, self._words[other], places)

    def _run(self, phrase: int) -> list[str]:
        number, place = self._owners[phrase][0]
        return self._words[number][place : place + WORDS]

    def _phrase_at(self, number: int, place: int) -> int:
        return self._phrases[" ".join(self._words[number][place : place + WORDS])]


def _has_content(phrase: Sequence[str]) -> bool:
    found = _content_words(phrase)
    # The numbers of five answer choices are not content.
    told = [word for word in found if not word.isdecimal()]
    return len(found) >= _CONTENT and len(told) >= _CONTENT - 1


def _specific(tokens: Sequence[str]) -> set[str]:
    return _content_words(tokens) | {token for token in tokens if token.isdecimal()}


def _first_word(sentence: str) -> str:
    found = _FIRST.search(sentence)
    return found[0].casefold() if found else ""


def _content_words(words: Iterable[str]) -> set[str]:
    """Return the words that say what a problem is about: no frame, variables or single digits."""
    return {word for word in words if word not in _FRAME and (len(word) > 1 or not word.isascii())}
