"""Write GSM8K rows as records in the AM-1.4M format: ``gsm8k_records.py IN OUT [LIMIT]``.

IN is JSON lines with ``id``, ``question``, ``solution`` and ``answer``; the solution becomes
the reasoning, without its last line (``#### ANSWER``).
"""

from __future__ import annotations

import json
import sys
from itertools import islice
from pathlib import Path


def to_record(row: dict[str, str]) -> dict[str, object]:
    """Return one record: a user's message with its reference, an assistant's with its tags."""
    reasoning = row["solution"].rpartition("\n####")[0].strip()
    answer = f"The answer is \\boxed{{{row['answer']}}}."
    completion = f"<think>{reasoning}</think>\n<answer>{answer}</answer>"
    info = {"source": row["id"], "reference_answer": row["answer"], "test_case": None}
    return {
        "messages": [
            {"role": "user", "content": row["question"], "info": info},
            {"role": "assistant", "content": completion, "info": {"source": row["id"]}},
        ]
    }


if __name__ == "__main__":
    source, target = Path(sys.argv[1]), Path(sys.argv[2])
    limit = int(sys.argv[3]) if len(sys.argv) > 3 else None
    with source.open(encoding="utf-8") as lines, target.open("w", encoding="utf-8") as out:
        for line in islice(lines, limit):
            out.write(json.dumps(to_record(json.loads(line)), ensure_ascii=False) + "\n")
