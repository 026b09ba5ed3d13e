"""curate: what is kept, what is rejected and why, and that nothing gets lost."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from row_files import write_rows

from wmss_cli.core.artifact import Job
from wmss_cli.core.config import CurateConfig
from wmss_cli.core.errors import ConfigError, DataError, IntegrityError
from wmss_cli.core.manifest import Manifest, verify
from wmss_cli.core.schema import EXAMPLE, REJECTED, example_id, read_parquet
from wmss_cli.core.verdict import REASONS
from wmss_cli.programs.sandbox import find_level
from wmss_cli.stages.shards import run, run_merge, run_shard, shard_jobs

Row = dict[str, Any]


def curate_files(out: Path, paths: Iterable[Path], **options: Any) -> Manifest:
    config = CurateConfig(**options)
    return run(
        Job(
            stage="curate",
            config=config.model_dump(mode="json"),
            identity=config.identity(),
            inputs={f"data-{i:04d}": str(path) for i, path in enumerate(paths)},
            out=str(out),
        )
    )


def kept_rows(out: Path) -> list[Row]:
    rows: list[Row] = read_parquet(out / "examples.parquet", EXAMPLE).to_pylist()
    return rows


def rejected_rows(out: Path) -> list[Row]:
    rows: list[Row] = read_parquet(out / "rejected.parquet", REJECTED).to_pylist()
    return rows


def record(question: str, answer: str, reference: str | None = None, **info: Any) -> Row:
    user_info = {"source": "sums", "reference_answer": reference, "test_case": None} | info
    completion = f"<think>Let me see.</think>\n<answer>\\boxed{{{answer}}}</answer>"
    return {
        "messages": [
            {"role": "user", "content": question, "info": user_info},
            {"role": "assistant", "content": completion, "info": {}},
        ]
    }


def code_record(question: str, program: str, test_code: str) -> Row:
    row = record(question, "", test_case={"test_code": test_code, "test_entry_point": None})
    answer = f"Here it is:\n```python\n{program}\n```\n"
    row["messages"][1]["content"] = f"<think>Let me see.</think>\n<answer>{answer}</answer>"
    return row


def write_jsonl(path: Path, rows: Iterable[Row | str]) -> Path:
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return path


@pytest.mark.slow
def test_keeps_the_right_and_says_why_not_the_rest(tmp_path: Path) -> None:
    unformatted = record("5 + 5?", "10", "10")
    unformatted["messages"][1]["content"] = "It is 10."
    path = write_jsonl(
        tmp_path / "data.jsonl",
        [
            record("2 + 2?", "4", "4"),
            record("2 + 2?", "5", "4"),
            record("2 + 2?", "4", "4", source="again"),
            "{not json}",
            unformatted,
            record("1 + 1?", "2"),
            code_record("Write f.", "def f(): return 1", "assert f() == 1"),
            code_record("Write f, please.", "def f(): return 2", "assert f() == 1"),
            code_record("Write g.", "import os\nos._exit(0)", "assert g() == 1"),
            code_record("Write h.", "def h(): return 1", "assert ("),
            record("9^(9^9)?", "9^{9^{9^{9}}}", "3"),
            record("3 + 3?", "6", "$6.00"),
        ],
    )
    out = tmp_path / "curated"
    manifest = curate_files(out, [path], verify_timeout_s=2.0)

    assert [row["prompt"] for row in kept_rows(out)] == ["2 + 2?", "Write f.", "3 + 3?"]
    first = record("2 + 2?", "4")["messages"][1]["content"]
    assert kept_rows(out)[0] == {
        "example_id": example_id("2 + 2?", first),
        "source": "sums",
        "prompt": "2 + 2?",
        "completion": first,
        "reference_answer": "4",
    }
    assert [(row["row"], row["reason"]) for row in rejected_rows(out)] == [
        (2, "wrong_answer"),
        (3, "duplicate"),
        (4, "unreadable"),
        (5, "format"),
        (6, "no_reference"),
        (8, "failed"),
        (9, "exit_early"),
        (10, "bad_reference"),
        (11, "timeout"),
    ]
    details = {row["reason"]: row["detail"] for row in rejected_rows(out)}
    assert details["wrong_answer"] == "answer '5', reference '4'"
    assert details["format"] == "no <think>"
    assert manifest.metrics["records"] == 12
    assert manifest.metrics["kept"] == 3
    assert manifest.metrics["rejected"] == dict.fromkeys(details, 1)
    assert manifest.metrics["first_rejected"].keys() == details.keys()
    first = manifest.metrics["first_rejected"]["wrong_answer"]
    assert first == "data-0000:data, row 2: answer '5', reference '4'"
    assert manifest.metrics["by_source"]["again"] == {"total": 1, "kept": 0}
    assert manifest.metrics["sandbox"] == [find_level()]
    assert verify(out).digest == manifest.digest


def test_a_broken_row_is_reported_with_its_file_and_line(tmp_path: Path) -> None:
    good = record("2 + 2?", "4", "4")
    first = write_jsonl(tmp_path / "first.jsonl", [good])
    second = write_jsonl(tmp_path / "second.jsonl", ["", '{"text": "no messages"}', "{"])
    out = tmp_path / "curated"
    manifest = curate_files(out, [first, second])
    assert [(r["example_id"], r["file"], r["row"]) for r in rejected_rows(out)] == [
        (None, "data-0001:second", 2),
        (None, "data-0001:second", 3),
    ]
    # What could not be read is kept aside as it is.
    assert [r["line"] for r in rejected_rows(out)] == [b'{"text": "no messages"}', b"{"]
    assert manifest.metrics["rejected"] == {"unreadable": 2}
    assert manifest.metrics["first_unreadable"][0] == (
        f"{second}:2: neither messages nor prompt and completion among its keys (text); "
        "rename the question to prompt and the answer to completion"
    )


@pytest.mark.slow
def test_decides_as_expected_on_real_records(tmp_path: Path, shared_data: Path) -> None:
    path = shared_data / "am_synth.jsonl"
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    contents = [[message["content"] for message in row["messages"]] for row in rows]
    # The file is half of a larger one: some duplicates have their first copy in the other half.
    first_copies = {
        i
        for i in range(1, len(rows) + 1)
        if "duplicate" in rows[i - 1]["meta"]["why"] and contents[i - 1] not in contents[: i - 1]
    }
    expected = {i for i, row in enumerate(rows, start=1) if row["meta"]["expected_keep"]}
    expected |= first_copies
    out = tmp_path / "curated"
    manifest = curate_files(out, [path])
    rejected = {row["row"]: row["reason"] for row in rejected_rows(out)}
    assert set(range(1, len(rows) + 1)) - rejected.keys() == expected
    assert len(kept_rows(out)) == len(expected) == manifest.metrics["kept"]
    code = Counter(rejected[i] for i in rejected if rows[i - 1]["meta"]["kind"] == "code")
    assert code["exit_early"] == 6
    assert code["failed"] == 7
    assert set(rejected.values()) <= set(REASONS)
    assert len(rows) == manifest.metrics["records"]
    assert sum(manifest.metrics["rejected"].values()) == len(rejected)


@pytest.mark.slow
def test_the_kind_of_file_does_not_matter(tmp_path: Path, shared_data: Path) -> None:
    text = (shared_data / "am_synth.jsonl").read_text(encoding="utf-8")
    messages = [{"messages": json.loads(line)["messages"]} for line in text.splitlines()]
    plain = tmp_path / "data.jsonl"
    plain.write_text(text, encoding="utf-8")
    packed = tmp_path / "data.jsonl.zst"
    packed.write_bytes(zstandard.compress(text.encode()))
    table = tmp_path / "data.parquet"
    pq.write_table(pa.Table.from_pylist(messages), table)
    digests = {
        curate_files(tmp_path / f"curated{i}", [path]).digest
        for i, path in enumerate([plain, packed, table])
    }
    assert len(digests) == 1


def test_order_and_content_do_not_depend_on_the_workers(tmp_path: Path) -> None:
    rows = [record(f"{i} + 0?", str(i), str(i if i % 3 else -1)) for i in range(100)]
    path = write_jsonl(tmp_path / "data.jsonl", rows)
    one = curate_files(tmp_path / "one", [path], workers=1)
    three = curate_files(tmp_path / "three", [path], workers=3)
    assert one.digest == three.digest
    assert one.fingerprint == three.fingerprint
    assert [r["prompt"] for r in kept_rows(tmp_path / "one")] == [
        f"{i} + 0?" for i in range(100) if i % 3
    ]


def test_duplicates_stay_where_that_is_asked_for(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "data.jsonl", [record("2 + 2?", "4", "4")] * 3)
    manifest = curate_files(tmp_path / "curated", [path], deduplicate="none")
    assert manifest.metrics["kept"] == 3


def test_a_record_without_reference_does_not_shadow_its_double(tmp_path: Path) -> None:
    rows = [record("2 + 2?", "4"), record("2 + 2?", "4", "4")]
    path = write_jsonl(tmp_path / "data.jsonl", rows)
    assert curate_files(tmp_path / "curated", [path]).metrics["rejected"] == {"no_reference": 1}


def test_the_limit_counts_records_of_all_files(tmp_path: Path) -> None:
    rows = [record(f"{i} + 0?", str(i), str(i)) for i in range(4)]
    paths = [write_jsonl(tmp_path / f"{i}.jsonl", rows[2 * i :][:2]) for i in range(2)]
    assert curate_files(tmp_path / "curated", paths, limit=3).metrics["kept"] == 3


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.jsonl: no such file"):
        curate_files(tmp_path / "curated", [tmp_path / "nowhere.jsonl"])
    assert not (tmp_path / "curated.partial").exists()


def test_no_input_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nothing to curate"):
        curate_files(tmp_path / "curated", [])


@pytest.mark.parametrize("content", ["", "\n\n"])
def test_an_empty_data_set_is_an_error(tmp_path: Path, content: str) -> None:
    path = tmp_path / "data.jsonl"
    path.write_text(content)
    with pytest.raises(DataError, match=r"data\.jsonl: no records"):
        curate_files(tmp_path / "curated", [path])
    assert not (tmp_path / "curated").exists()


def test_nothing_left_is_an_error_that_counts_the_reasons(tmp_path: Path) -> None:
    rows = [record("2 + 2?", "5", "4"), record("3 + 3?", "5", "6"), record("1 + 1?", "2"), "{"]
    path = write_jsonl(tmp_path / "data.jsonl", rows)
    counts = "none of 4 records kept (2 wrong_answer, 1 no_reference, 1 unreadable)"
    with pytest.raises(DataError, match=re.escape(counts)) as caught:
        curate_files(tmp_path / "curated", [path])
    assert "\n" not in str(caught.value)
    # What the message points to is there, though the artifact is not.
    assert pq.read_table(tmp_path / "curated.partial" / "rejected.parquet").num_rows == 4
    assert not (tmp_path / "curated").exists()


# Shards, copies, benchmarks.


def long_question(first: str) -> str:
    return (
        f"{first} has 16 ducks that lay one egg a day, and sells all but three. How many is that?"
    )


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """Records that meet each other and a benchmark across any cut."""
    thoughts = " ".join(f"step {i} follows from step {i - 1}" for i in range(1, 60))
    nearly = record("Count the ducks.", "13", "13")
    nearly["messages"][1]["content"] = f"<think>{thoughts}</think> <answer>13</answer>"
    again = json.loads(json.dumps(nearly).replace("step 30 follows", "step 30 comes"))
    rows = [record(f"{i} + {i}?", str(2 * i), str(2 * i)) for i in range(8)]
    rows += [nearly, rows[3], again, record(long_question("Janet"), "13", "13"), "{"]
    rows += [record("2 + 2?", "5", "4"), rows[3]]
    return write_jsonl(tmp_path / "mixed.jsonl", rows)


@pytest.fixture
def ducks(tmp_path: Path) -> Path:
    path = tmp_path / "ducks.jsonl"
    path.write_text(json.dumps({"id": "d1", "question": long_question("Anna"), "answer": "13"}))
    return path


def curate_job(out: Path, data: Path, task: Path, **options: Any) -> Job:
    config = CurateConfig(**options)
    return Job(
        stage="curate",
        config=config.model_dump(mode="json"),
        identity=config.identity(),
        inputs={"data-0000": str(data), "task-ducks": str(task)},
        out=str(out),
    )


def test_copies_and_benchmark_questions_go(mixed: Path, ducks: Path, tmp_path: Path) -> None:
    out = tmp_path / "curated"
    manifest = run(curate_job(out, mixed, ducks))
    assert {row["row"]: (row["reason"], row["detail"]) for row in rejected_rows(out)} == {
        10: ("duplicate", ""),
        11: ("near_duplicate", "of data-0000:mixed, row 9"),
        12: (
            "contaminated",
            "ducks d1: has 16 ducks that lay one egg a day and sells all but",
        ),
        13: (
            "unreadable",
            "not JSON: Expecting property name enclosed in double quotes at column 2",
        ),
        14: ("wrong_answer", "answer '5', reference '4'"),
        15: ("duplicate", ""),
    }
    assert manifest.metrics["kept"] == len(kept_rows(out)) == 9
    assert manifest.metrics["decontaminated_against"] == ["ducks"]
    card = (out / "card.md").read_text()
    assert "9 of 15 records are kept." in card
    assert "| contaminated | 1 | 6.7% |" in card
    assert "- contaminated: data-0000:mixed, row 12: ducks d1: has 16 ducks that lay" in card
    assert "Benchmark questions looked for: ducks." in card
    assert manifest.fingerprint in card
    assert (out / "lengths.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_what_is_rejected_makes_no_other_record_superfluous(tmp_path: Path) -> None:
    broken = "def f():\nreturn 1"
    rows = [
        record("1 + 1?", "2", "3"),
        record("1 + 1?", "2", "2"),
        code_record("Write f.", broken, "assert f() == 1"),
        code_record("Write f.", "def f():\n    return 1", "assert f() == 1"),
        record("1 + 1?", "2", "2"),
    ]
    out = tmp_path / "curated"
    curate_files(out, [write_jsonl(tmp_path / "data.jsonl", rows)])
    assert [row["prompt"] for row in kept_rows(out)] == ["1 + 1?", "Write f."]
    assert [(row["row"], row["reason"]) for row in rejected_rows(out)] == [
        (1, "wrong_answer"),
        (3, "error"),
        (5, "duplicate"),
    ]


@pytest.mark.slow
@pytest.mark.parametrize("shards", [2, 16])
def test_shards_do_not_change_what_is_kept(
    mixed: Path, ducks: Path, tmp_path: Path, shards: int
) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    one = run(curate_job(whole, mixed, ducks))
    job = curate_job(cut, mixed, ducks, shards=shards)
    for piece in shard_jobs(job):
        run_shard(piece)
    many = run_merge(job)
    assert rejected_rows(cut) == rejected_rows(whole)
    assert kept_rows(cut) == kept_rows(whole)
    assert (many.fingerprint, many.digest, many.metrics) == (
        one.fingerprint,
        one.digest,
        one.metrics,
    )
    assert not Path(f"{cut}.shards").exists()


@pytest.fixture
def rounds(tmp_path: Path) -> Path:
    """A benchmark of one question, whose last sentence four other records have, too."""
    path = tmp_path / "rounds.jsonl"
    question = f"A senate committee has 8 republicans and wants to sit together. {RULE}"
    path.write_text(json.dumps({"id": "r1", "question": question, "answer": "13"}))
    return path


RULE = "Two seatings are considered the same if one is a rotation of the other, as usual."


@pytest.mark.parametrize("shards", [1, 3])
def test_a_phrase_that_other_problems_have_too_makes_no_contamination(
    rounds: Path, tmp_path: Path, shards: int
) -> None:
    others = ["Nine knights feast", "Ann, Bo and Cy play", "Five couples dine", "Six dwarfs meet"]
    prompts = [f"{other} around a table. How many ways are there? {RULE}" for other in others]
    rows = [record(prompt, "13", "13") for prompt in prompts]
    rows.insert(2, record(f"Hello! {json.loads(rounds.read_text())['question']}", "13", "13"))

    out = tmp_path / "all"
    options = {"shards": shards, "deduplicate": "exact"}
    everything = write_jsonl(tmp_path / "all.jsonl", rows)
    manifest = run(curate_job(out, everything, rounds, **options))
    assert [(row["row"], row["detail"]) for row in rejected_rows(out)] == [(3, "ducks r1: equal")]
    assert manifest.metrics["kept_with_common_phrase"] == 4
    assert "4 records are kept that share only common phrases" in (out / "card.md").read_text()

    # Where two records have it, it is rare, however many copies of these there are.
    few = write_jsonl(tmp_path / "few.jsonl", [rows[0]] * 5 + [rows[1], record("1 + 1?", "2", "2")])
    out = tmp_path / "few"
    run(curate_job(out, few, rounds, shards=shards, deduplicate="none"))
    assert Counter(row["reason"] for row in rejected_rows(out)) == {"contaminated": 6}
    assert rejected_rows(out)[0]["detail"].startswith("ducks r1: two seatings are considered")


def test_a_record_that_goes_for_a_phrase_makes_no_other_one_superfluous(
    ducks: Path, tmp_path: Path
) -> None:
    # What is asked is contaminated before its answer is found wrong.
    rows = [record(long_question("Janet"), "12", "13"), record("1 + 1?", "2", "2")]
    out = tmp_path / "curated"
    run(curate_job(out, write_jsonl(tmp_path / "data.jsonl", rows), ducks))
    assert [row["reason"] for row in rejected_rows(out)] == ["contaminated"]


@pytest.mark.slow
def test_near_copies_stay_if_they_answer_another_question(tmp_path: Path) -> None:
    thoughts = " ".join(f"step {word} follows from what was said before" for word in "abcdefghijk")

    def told(prompt: str, answer: str, reference: str | None, **info: Any) -> Row:
        row = record(prompt, answer, reference, **info)
        row["messages"][1]["content"] = f"<think>{thoughts}</think> <answer>{answer}</answer>"
        return row

    rows = [told(f"Tom has {n} apples and eats one.", str(n - 1), str(n - 1)) for n in range(2, 10)]
    rows.append(told("Tom has 5 apples and eats one!!", "4", "4"))
    rows.append(told("Tom has 5 pears and eats one.", "4.0", "4.0"))
    tests = [{"test_code": f"assert f() == {n}", "test_entry_point": None} for n in (1, 1, 2)]
    program = "```python\ndef f(): return {0}\n```"
    rows += [
        told(f"Write f{mark}", program.format(n), None, test_case=test)
        for mark, n, test in zip([".", "!", "?"], (1, 1, 2), tests, strict=True)
    ]
    out = tmp_path / "curated"
    curate_files(out, [write_jsonl(tmp_path / "data.jsonl", rows)])
    assert [(row["row"], row["detail"]) for row in rejected_rows(out)] == [
        (9, "of data-0000:data, row 4"),
        (10, "of data-0000:data, row 4"),
        (12, "of data-0000:data, row 11"),
    ]


def test_a_missing_shard_is_not_merged_over(mixed: Path, ducks: Path, tmp_path: Path) -> None:
    job = curate_job(tmp_path / "cut", mixed, ducks, shards=2)
    run_shard(shard_jobs(job)[0])
    with pytest.raises(IntegrityError, match="shard 1 is missing or older than its inputs"):
        run_merge(job)


def test_near_copies_stay_where_only_exact_ones_are_unwanted(
    mixed: Path, ducks: Path, tmp_path: Path
) -> None:
    manifest = run(curate_job(tmp_path / "out", mixed, ducks, deduplicate="exact"))
    assert "near_duplicate" not in manifest.metrics["rejected"]
    assert manifest.metrics["kept"] == 10


def test_plain_records_without_references_are_kept_where_that_is_asked_for(tmp_path: Path) -> None:
    rows = [
        {"prompt": "Say hello.", "completion": "Hello!"},
        {"prompt": "Say hello.", "completion": "hello!"},
        {"prompt": "2 + 2?", "completion": "\\boxed{5}", "reference_answer": 4},
        {"prompt": "3 + 3?", "completion": "It is 6.", "reference_answer": "6", "source": "sums"},
        {"prompt": "Nothing."},
    ]
    path = write_jsonl(tmp_path / "plain.jsonl", rows)
    manifest = curate_files(tmp_path / "out", [path], format="any", unverifiable="keep")
    assert [row["completion"] for row in kept_rows(tmp_path / "out")] == ["Hello!", "It is 6."]
    assert manifest.metrics["rejected"] == {"duplicate": 1, "wrong_answer": 1, "unreadable": 1}


def test_nothing_kept_says_why_with_the_first_examples(tmp_path: Path) -> None:
    rows = ['{"text": "a"}', record("1 + 1?", "3", "2"), record("2?", "2"), record("3?", "4", "3")]
    path = write_jsonl(tmp_path / "data.jsonl", rows)
    with pytest.raises(DataError) as caught:
        curate_files(tmp_path / "curated", [path])
    assert str(caught.value) == (
        f"{path}: none of 4 records kept (2 wrong_answer, 1 unreadable, 1 no_reference): "
        f"{path}:1: unreadable, neither messages nor prompt and completion among its keys (text); "
        "rename the question to prompt and the answer to completion; "
        f"{path}:2: wrong_answer, answer '3', reference '2'; "
        f"{path}:3: no_reference, neither a reference answer nor a test to check the answer by; "
        f"see {tmp_path / 'curated.partial' / 'rejected.parquet'}"
    )


def test_records_of_other_kinds_are_named_by_their_files(tmp_path: Path) -> None:
    paths = [
        write_rows(tmp_path / name, [{"prompt": f"{name}?", "completion": "2"}])
        for name in ("a.CSV", "b.json.gz", "c.d.jsonl.xz")
    ]
    datasets.Dataset.from_list([{"prompt": "e?", "completion": "2"}]).save_to_disk(tmp_path / "e")
    keep = {"format": "any", "unverifiable": "keep", "deduplicate": "none"}
    good = write_jsonl(tmp_path / "good.jsonl", [record("1?", "1", "1")])
    curate_files(tmp_path / "all", [*paths, tmp_path / "e", good], **keep)
    assert len(kept_rows(tmp_path / "all")) == 5
    curate_files(tmp_path / "one", [*paths, tmp_path / "e", good])
    assert [row["file"] for row in rejected_rows(tmp_path / "one")] == [
        "data-0000:a",
        "data-0001:b",
        "data-0002:c.d",
        "data-0003:e",
    ]
