"""Grade answers as curation and evaluation do: find the answer, compare it, give a reason."""

from wmss_cli.answers.graders import grader

ANSWERS = [
    ("math", r"So x = 3/4, and the answer is \boxed{0.75}.", r"\frac{3}{4}"),
    ("math", r"\boxed{(x+1)^2}", "x^2 + 2x + 1"),
    ("math", "I could not finish the calculation", "12"),
    ("number", "She pays 1.83 dollars. The answer is 1.83", "1.8333333333333335"),
    ("choice", "It cannot be A, so it is (C).", "C"),
    ("choice", r"\boxed{B}", "C"),
]

for kind, completion, reference in ANSWERS:
    verdict = grader(kind)(completion, reference)
    print(f"{kind:7} {verdict.correct!s:6} {verdict.reason:13} {verdict.extracted}")
