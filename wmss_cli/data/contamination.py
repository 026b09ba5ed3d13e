"""Training samples that hold a benchmark's question.

A sample is judged by what it shares with a question: all of it, or words in a row that say what the
question is about and that hardly another text has.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from wmss_cli.data.frame import content
from wmss_cli.data.words import words, words_and_signs

WORDS = 13
"""Words in a row that are no coincidence: the length that GPT-3 and its successors look for."""

COMMON = 3
"""A phrase is common where so many other texts have it and otherwise tell something else."""

_CONTENT = 3
"""A phrase with fewer words of content says how an answer is wanted, and nothing of the problem."""
_WHOLE = 0.9
"""A question is held as a whole from this share of its words on, in phrases."""
_APART = 0.6
"""A text tells something else if it has less than this share of the question's other content."""
_SPECIFIC = 2
"""A question is looked for inside a prompt only if it has so many words that are its own."""
_PREFIX = 5
"""Words by which it is told that sentences begin no question."""

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


@dataclass(frozen=True)
class Meeting:
    """What a sample shares with benchmarks.

    Attributes
    ----------
    whole : Match or None
        A question that it holds as a whole; then the phrases are not looked for.
    phrases : tuple of int
        Phrases that count unless they are common (see :meth:`Benchmarks.elsewhere`), in the order
        in which they stand in the sample.
    apart : tuple of int
        Those of them around which the sample tells something else than the benchmark does.
    """

    whole: Match | None
    phrases: tuple[int, ...] = ()
    apart: tuple[int, ...] = ()


class Benchmarks:
    """The questions of benchmarks, to be looked for in samples.

    A sample meets a question

    - if whole sentences of its prompt are the question, but for case, punctuation, white space and
      how formulas are written. The signs of formulas count there;
    - if it has nine in ten words of the question, in phrases of 13 words in a row;
    - if it has one such phrase that has content (see :mod:`wmss_cli.data.frame`) and is rare: fewer
      than three other texts, of the benchmarks and of the corpus, have it and otherwise tell
      something else.

    Phrases are numbered, in the order of the questions: the same questions give the same numbers.

    References
    ----------
    T. Brown et al., "Language models are few-shot learners" (2020), appendix C.
    """

    def __init__(self, questions: Iterable[Question]) -> None:
        self._questions = list(questions)
        self._words = [words(question.text) for question in self._questions]
        self._content = [content(found) for found in self._words]
        self._whole: dict[str, int] = {}
        self._specific: dict[str, int] = {}
        """Those that are looked for inside a text, with and without how the answer is wanted."""
        self._beginnings: set[str] = set()
        self._prefixes: set[str] = set()
        self._longest = 0
        self._phrases: dict[str, int] = {}
        self._owners: list[list[tuple[int, int]]] = []
        """By phrase: the questions that have it, and where."""
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
        """By question: its phrases, and where."""
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
        """Return how many other questions have a phrase and tell something else, up to COMMON."""
        return self._elsewhere[phrase]

    def name(self, phrase: int) -> Match:
        """Return the first question that has a phrase, and the phrase."""
        question = self._questions[self._owners[phrase][0][0]]
        return Match(question.task, question.id, " ".join(self._run(phrase)))

    def match(self, prompt: str, completion: str) -> Match | None:
        """Return the first question that a sample meets where no other sample is known."""
        met = self.meet(prompt, completion)
        return met.whole or next(map(self.name, met.phrases), None)

    def meet(self, prompt: str, completion: str) -> Meeting:
        """Return what a sample shares with the questions."""
        number = self._whole.get(" ".join(words_and_signs(prompt)))
        for text in (prompt, completion):
            number = self._find_sentences(text) if number is None else number
        if number is not None:
            question = self._questions[number]
            return Meeting(Match(question.task, question.id, "equal"))
        phrases: dict[int, bool] = {}
        for told in (words(prompt), words(completion)):
            found = list(self._find_phrases(told))
            shared: dict[int, dict[int, int]] = defaultdict(dict)
            for place, phrase in found:
                for number, there in self._owners[phrase]:
                    shared[number][place] = there
            for number, places in shared.items():
                if self._covers(number, places.values()):
                    return Meeting(self.name(self._phrase_at(number, min(places.values()))))
            apart: dict[int, bool] = {}
            for _, phrase in found:
                if not self._counts[phrase]:
                    continue
                for number, _ in self._owners[phrase]:
                    if number not in apart:
                        apart[number] = self._tells_apart(number, told, shared[number])
                alone = all(apart[number] for number, _ in self._owners[phrase])
                phrases[phrase] = phrases.get(phrase, True) and alone
        return Meeting(None, tuple(phrases), tuple(p for p, alone in phrases.items() if alone))

    def _add_whole(self, number: int) -> None:
        sentences = [
            words_and_signs(part) for part in _SENTENCE.split(self._questions[number].text)
        ]
        tokens = words_and_signs(self._questions[number].text)
        if tokens:
            self._whole.setdefault(" ".join(tokens), number)
        # How the answer is wanted is no part of the question.
        while len(sentences) > 1 and not _specific(sentences[-1]):
            sentences.pop()
        for part in (tokens, [token for sentence in sentences for token in sentence]):
            if len(_specific(part)) >= _SPECIFIC:
                self._specific.setdefault(" ".join(part), number)
                self._longest = max(self._longest, len(part))
                self._beginnings.add(_first_word(self._questions[number].text))
                self._prefixes.add(" ".join(part[:_PREFIX]))

    def _find_sentences(self, text: str) -> int | None:
        """Return the question that some whole sentences of a text are."""
        sentences = [sentence for sentence in _SENTENCE.split(text) if sentence]
        for first, sentence in enumerate(sentences):
            # Most sentences begin as no question does.
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
        """Yield where a text has a phrase, and which."""
        known = 0
        for last, word in enumerate(text):
            # Most windows hold a word that no question has.
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
        """Say whether a text has other content than a question around the phrases of both.

        Parameters
        ----------
        number : int
            Of the question.
        text : sequence of str
            Words.
        places : mapping of int to int
            Where the phrases are in the text, and where in the question.
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
    found = content(phrase)
    # The numbers of five choices are no story.
    told = [word for word in found if not word.isdecimal()]
    return len(found) >= _CONTENT and len(told) >= _CONTENT - 1


def _specific(tokens: Sequence[str]) -> set[str]:
    return content(tokens) | {token for token in tokens if token.isdecimal()}


def _first_word(sentence: str) -> str:
    found = _FIRST.search(sentence)
    return found[0].casefold() if found else ""
