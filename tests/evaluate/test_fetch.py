"""Getting rows: from a hub and from GitHub as they answer over HTTP, and from a folder."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from threading import Thread
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.commands import wmss
from wmss_cli.core.errors import ConfigError
from wmss_cli.evaluate import fetch as module
from wmss_cli.evaluate.fetch import fetch
from wmss_cli.evaluate.problems import content_sha256, read_problems
from wmss_cli.evaluate.tasks import Source, Task, read_spec, shipped

REVISION = "0123456789abcdef0123456789abcdef01234567"

Row = dict[str, Any]


def rows_of(path: Path) -> list[Row]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def published(name: str, row: Row) -> Row:
    """Return a row of the shared files with the columns under which it is published."""
    match name:
        case "gsm8k":
            return {"question": row["question"], "answer": f"So.\n#### {int(row['answer']):,}"}
        case "math500":
            return {
                "problem": row["question"],
                "answer": row["answer"],
                "unique_id": row["id"],
                "subject": row["subject"],
            }
        case "aqua":
            return {key: row[key] for key in ("question", "options")} | {"correct": row["answer"]}
        case "svamp":
            body, _, question = row["question"].rpartition(". ")
            return {
                "ID": row["id"].removeprefix("svamp/"),
                "Body": f"{body}.",
                "Question": question,
                "Answer": float(row["answer"]),
            }
        case "mawps_qwen2065":
            return {"input": row["question"], "target": float(row["answer"])}
        case "humaneval":
            return {
                "task_id": row["id"],
                **{key: row[key] for key in ("prompt", "entry_point", "test")},
            }
        case "mbpp" | "mbpp_sanitized":
            number = int(row["id"].split("/")[1])
            words = {"text" if name == "mbpp" else "prompt": row["prompt"]}
            tests = ("test_list", "test_setup_code", "test_imports")
            return {"task_id": number, **words, **{key: row[key] for key in tests if key in row}}
        case _:
            return {"question": row["question"], "answer": row["answer"]}


def encoded(file: str, rows: list[Row]) -> bytes:
    if file.endswith(".parquet"):
        target = BytesIO()
        pq.write_table(pa.Table.from_pylist(rows), target)
        return target.getvalue()
    if file.endswith(".json"):
        return json.dumps(rows).encode()
    lines = "".join(json.dumps(row) + "\n" for row in rows).encode()
    return gzip.compress(lines) if file.endswith(".gz") else lines


class Site:
    """A server that answers as the hub and GitHub do for the files it has."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.asked: list[str] = []
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_HEAD(self) -> None:
                self.answer(with_body=False)

            def do_GET(self) -> None:
                self.answer(with_body=True)

            def answer(self, with_body: bool) -> None:
                site.asked.append(self.path)
                content = site.files.get(self.path)
                self.send_response(404 if content is None else 200)
                content = content or b""
                self.send_header("Content-Length", str(len(content)))
                self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
                self.send_header("X-Repo-Commit", REVISION)
                self.end_headers()
                if with_body:
                    self.wfile.write(content)

            def log_message(self, *parts: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def put(self, source: Source, contents: Mapping[str, bytes]) -> None:
        """Have the files of a source, by their name there."""
        for file, content in contents.items():
            if source.site == "hub":
                path = f"/datasets/{source.repository}/resolve/{source.revision}/{file}"
            else:
                path = f"/{source.repository}/{source.revision}/{file}"
            self.files[path] = content


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Site]:
    site = Site()
    monkeypatch.setattr(module, "GITHUB_URL", site.url)
    monkeypatch.setenv("HF_ENDPOINT", site.url)
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    thread = Thread(target=site.server.serve_forever)
    thread.start()
    yield site
    site.server.shutdown()
    thread.join()
    site.server.server_close()


def contents_of(source: Source, name: str, rows: list[Row]) -> dict[str, bytes]:
    """Spread the rows over the files of a source, in the order in which it has them."""
    each = -(-len(rows) // len(source.files))
    return {
        file: encoded(file, [published(name, row) for row in rows[k * each : (k + 1) * each]])
        for k, file in enumerate(source.files)
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", shipped())
def test_every_benchmark_comes_from_every_source(
    site: Site, shared_data: Path, tmp_path: Path, name: str
) -> None:
    task = read_spec(shipped()[name])
    rows = [
        row
        for row in rows_of(shared_data / f"{name}.jsonl")
        if all(row[key] == value for key, value in task.where.items())
    ]
    for source in task.sources:
        site.put(source, contents_of(source, name, rows))
        only = task.model_copy(update={"sources": (source,)})
        to = tmp_path / source.site
        if source.site == "hub":
            spec = tmp_path / f"{name}.yaml"
            spec.write_text(only.model_dump_json(exclude={"name"}, exclude_none=True))
            done = wmss("data", "fetch", spec, "--to", to)
            assert done.returncode == 0, done.stderr
            assert str(source) in " ".join(done.stdout.split())
        else:
            assert fetch(only, to).origin == str(source)
        problems = read_problems(task, to / f"{name}.jsonl")
        assert [p.question for p in problems] == [
            p.question for p in read_problems(task, shared_data / f"{name}.jsonl")
        ]


TINY = Task(
    name="tiny",
    title="Tiny",
    rows=2,
    format="plain",
    sources=(
        Source(site="github", repository="a/first", revision=REVISION, files=("x.json",)),
        Source(site="github", repository="a/second", revision=REVISION, files=("y.json",)),
    ),
)
ROWS = [{"question": "1 + 1?", "answer": "2"}, {"question": "1 + 2?", "answer": "3"}]


@pytest.fixture
def tiny(tmp_path: Path) -> Task:
    """A task of two rows whose content is known."""
    path = tmp_path / "known.jsonl"
    lines = (json.dumps({"id": str(n), **row}) for n, row in enumerate(ROWS))
    path.write_text("\n".join(lines))
    digest = content_sha256(TINY, read_problems(TINY, path))
    return TINY.model_copy(update={"sha256": digest})


def test_the_second_source_has_what_the_first_has_not(
    site: Site, tiny: Task, tmp_path: Path
) -> None:
    site.put(tiny.sources[1], {"y.json": encoded("y.json", ROWS)})
    done = fetch(tiny, tmp_path / "data")
    assert (done.rows, done.origin) == (2, "github a/second@0123456")
    assert len(site.asked) == 2


def test_another_order_and_other_white_space_are_the_same_rows(
    site: Site, tiny: Task, tmp_path: Path
) -> None:
    rows = [{"question": " 1 +  2?\n", "answer": 3}, {"question": "1 + 1?", "answer": 2.0}]
    site.put(tiny.sources[0], {"x.json": encoded("x.json", rows)})
    assert fetch(tiny, tmp_path / "data").origin == "github a/first@0123456"


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (ROWS[:1], "first@0123456: 1 problems, but Tiny has 2"),
        ([ROWS[0], {"question": "1 + 2?", "answer": "4"}], "the content of the rows differs"),
        ([{"question": "1 + 1?"}] * 2, "row 1: not as tiny was published"),
    ],
)
def test_other_rows_are_refused_and_nothing_is_written(
    site: Site, tiny: Task, tmp_path: Path, rows: list[Row], message: str
) -> None:
    site.put(tiny.sources[0], {"x.json": encoded("x.json", rows)})
    with pytest.raises(ConfigError, match=message) as caught:
        fetch(tiny, tmp_path / "data")
    assert "github a/second@0123456: y.json: Not Found" in str(caught.value)
    assert not (tmp_path / "data").exists()


def test_what_exists_already_is_kept_if_it_is_right(tiny: Task, tmp_path: Path) -> None:
    there = tmp_path / "tiny.jsonl"
    (tmp_path / "known.jsonl").rename(there)
    before = there.stat().st_mtime_ns
    assert fetch(tiny, tmp_path).origin == "there already"
    assert there.stat().st_mtime_ns == before

    there.write_text(there.read_text().replace("3", "4"))
    with pytest.raises(ConfigError, match=r"tiny.jsonl: the content of the rows differs"):
        fetch(tiny, tmp_path)


def test_a_folder_has_published_files_or_ours(tiny: Task, tmp_path: Path) -> None:
    folder = tmp_path / "brought"
    file = folder / "a" / "second" / "y.json"
    file.parent.mkdir(parents=True)
    file.write_bytes(encoded("y.json", ROWS))
    assert fetch(tiny, tmp_path / "one", folder).origin == "github a/second@0123456"

    (tmp_path / "known.jsonl").rename(folder / "tiny.jsonl")
    assert fetch(tiny, tmp_path / "two", folder).origin == str(folder / "tiny.jsonl")
    one, two = (tmp_path / name / "tiny.jsonl" for name in ("one", "two"))
    assert [p.question for p in read_problems(tiny, one)] == [
        p.question for p in read_problems(tiny, two)
    ]


def test_a_folder_without_the_files_names_those_it_lacks(tiny: Task, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"a/first/x.json does not exist; .*a/second/y.json"):
        fetch(tiny, tmp_path / "data", tmp_path)
