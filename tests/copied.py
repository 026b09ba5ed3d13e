"""Ways in which a benchmark's question gets into training data: what must be found in each."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

Sample = tuple[str, str]
"""Prompt and completion."""

_FRACTION = re.compile(r"\\[dt]?frac\{(\w+)\}\{(\w+)\}")
_SIGNS = {r"\le ": "≤ ", r"\leq ": "≤ ", r"\ge ": "≥ ", r"\pi": "π", r"\theta": "θ", "^2": "²"}


def _latex(question: str) -> str:
    text = re.sub(r"\\frac(?![a-z])", r"\\dfrac", question)
    text = text.replace(r"\left(", "(").replace(r"\right)", ")")
    text = re.sub(r"\\le(?![a-zA-Z])", r"\\leq", text)
    return re.sub(r"(?<!\\)\$([^$]+)(?<!\\)\$", r"\\(\1\\)", text)


def _unicode(question: str) -> str:
    text = _FRACTION.sub(r"\1/\2", question)
    for latex, sign in _SIGNS.items():
        text = re.sub(re.escape(latex) + r"(?![a-zA-Z])", sign, text)
    return re.sub(r"(?<!\\)\$", "", text)


FORMS: Mapping[str, Callable[[str], Sample]] = {
    "as it is": lambda question: (question, ""),
    "other white space": lambda question: (re.sub(r"\s+", " \n ", question.strip()), ""),
    "no commas": lambda question: (re.sub(r",(?=\s)", "", question), ""),
    "other LaTeX": lambda question: (_latex(question), ""),
    "no LaTeX": lambda question: (_unicode(question), ""),
    "a sentence in front": lambda question: (
        f"Please reason step by step and put your final answer within \\boxed{{}}. {question}",
        "",
    ),
    "a heading in front": lambda question: (f"**Problem 7.** {question}", ""),
    "a sentence behind": lambda question: (f"{question.strip()}\nExplain each step.", ""),
    "in the completion": lambda question: (
        "Solve it.",
        f"<think>The question says:\n{question}\nLet me think.</think><answer>7</answer>",
    ),
}

STOCK = (
    "This is $\\frac{m}{n}$, where $m$ and $n$ are relatively prime positive integers. Find $m+n$.",
    "The probability of that is $m/n$, where $m$ and $n$ are relatively prime positive integers. "
    "What is $m + n$?",
    "The ratio can be expressed in the form $\\frac{a - b\\sqrt{c}}{d}$, where $a, b, c,$ and $d$ "
    "are positive integers, $c$ is not divisible by the square of any prime, and the greatest "
    "common divisor of $a, b, d$ is 1. Find $a+b+c+d$.",
    "The distance can be written in the form $m\\sqrt{n}$, where $m$ and $n$ are positive integers "
    "and $n$ is not divisible by the square of any prime. Find $m+n$.",
    "Let $N$ be that number. Find the remainder when $N$ is divided by $1000$.",
    "Express your answer as a common fraction in simplest form, or as a decimal to the nearest "
    "tenth.",
    "Answer Choices: (A) 12 (B) 15 (C) 18 (D) 20 (E) none of these. Which of the following is it?",
    "Write a python function to find the maximum value of that in the given list of numbers.",
)
"""Sentences that are in many benchmarks, and say nothing of what a problem is about."""
