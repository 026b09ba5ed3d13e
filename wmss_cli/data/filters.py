"""Which records are kept: the reasons for a rejection, and the format."""

from __future__ import annotations

from collections.abc import Mapping

REASONS: Mapping[str, str] = {
    "unreadable": "not a record of one question and one answer; the detail says what is wrong",
    "format": "not one <think>…</think> followed by one <answer>…</answer>",
    "no_reference": "neither a reference answer nor a test to check the answer by",
    "contaminated": "holds a question of a benchmark, or a rare phrase of one; the detail names it",
    "duplicate": "prompt and completion both equal those of an earlier record",
    "near_duplicate": "nearly equal to an earlier record of the same problem; the detail names it",
    "wrong_answer": "the answer differs from the reference",
    "no_answer": "nothing in the answer can be compared with the reference",
    "bad_reference": "the reference cannot be read",
    "timeout": "the check took longer than verify_timeout_s",
    "crash": "the check ended its process, by memory for example",
    "no_code": "the answer holds no program",
    "failed": "a test of the program fails",
    "error": "the program ends with an exception",
    "exit_early": "the program ends itself before its tests are done",
    "memory": "the program needs more memory than it may have",
    "output": "the program prints more than it may",
    "forged": "the program passes tests that it cannot pass",
}
"""Every reason for which curation rejects a record, and what it means."""

_TAGS = ("<think>", "</think>", "<answer>", "</answer>")


def check_format(completion: str) -> str | None:
    r"""Say what is wrong with the form of a completion.

    Right is exactly one ``<think>…</think>``, then exactly one ``<answer>…</answer>`` that is
    not empty, with nothing but white space around and between them. The answer needs no
    ``\boxed``.

    Parameters
    ----------
    completion : str
        What the assistant wrote.

    Returns
    -------
    str or None
        What is wrong, or None where nothing is.
    """
    for tag in _TAGS:
        count = completion.count(tag)
        if count == 0:
            return f"no {tag}"
        if count > 1:
            return f"{count} times {tag}"
    positions = [completion.index(tag) for tag in _TAGS]
    if positions != sorted(positions):
        return "the tags are not in the order " + " ".join(_TAGS)
    before, rest = completion.split("<think>")
    between, rest = rest.split("</think>")[1].split("<answer>")
    answer, after = rest.split("</answer>")
    if before.strip():
        return "text before <think>"
    if between.strip():
        return "text between </think> and <answer>"
    if after.strip():
        return "text after </answer>"
    return None if answer.strip() else "the answer is empty"
