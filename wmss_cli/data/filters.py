"""The format that the method requires of completions."""

from __future__ import annotations

from wmss_cli.core.tags import TAGS


def check_format(completion: str) -> str | None:
    r"""Return what is wrong with the format of a completion.

    The format is exactly one ``<think>…</think>``, then exactly one ``<answer>…</answer>`` that
    is not empty, with only white space around and between them. The answer needs no ``\boxed``.

    Parameters
    ----------
    completion : str
        What the assistant wrote.

    Returns
    -------
    str or None
        What is wrong, or None if nothing is.
    """
    for tag in TAGS:
        count = completion.count(tag)
        if count == 0:
            return f"no {tag}"
        if count > 1:
            return f"{count} times {tag}"
    positions = [completion.index(tag) for tag in TAGS]
    if positions != sorted(positions):
        return "the tags are not in the order " + " ".join(TAGS)
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
