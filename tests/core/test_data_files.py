"""A data set by its name: a file, a folder, or one on the hub."""

from __future__ import annotations

import json
from pathlib import Path

import datasets
import pytest
from row_files import write_rows

from wmss_cli.core.data_files import find_data
from wmss_cli.core.errors import ConfigError
from wmss_cli.core.rows import read_rows

ROWS = [{"prompt": f"{i}?", "completion": str(i)} for i in range(5)]


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))


def folder(name: str, *files: str) -> Path:
    for file in files:
        path = Path(name) / file
        path.parent.mkdir(parents=True, exist_ok=True)
        write_rows(path, ROWS)
    return Path(name)


def names(reference: str) -> list[str]:
    """Return the files of a data set, after a look at what they say."""
    found = find_data(reference)
    for path in found:
        assert [row.value for row in read_rows(path)] == ROWS
    return [path.name for path in found]


def refusal(reference: str) -> str:
    with pytest.raises(ConfigError) as caught:
        find_data(reference)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_file_is_itself() -> None:
    assert find_data(str(write_rows(Path("a.txt.jsonl"), ROWS))) == [Path("a.txt.jsonl")]


# Folders called as the library's own modules are.
@pytest.mark.parametrize("name", ["plain", "csv", "json", "parquet"])
def test_a_folder_of_files(name: str) -> None:
    folder(name, "b.jsonl", "a.jsonl")
    assert names(name) == ["a.jsonl", "b.jsonl"]
    assert names(f"{name}/") == ["a.jsonl", "b.jsonl"]


@pytest.mark.parametrize("ending", [".jsonl", ".jsonl.gz", ".json", ".csv", ".parquet"])
def test_splits_are_chosen_by_name(ending: str) -> None:
    folder("a", f"data/train-00000-of-00001{ending}", f"data/test-00000-of-00001{ending}")
    assert refusal("a") == "a: has the splits train, test; name one: a/train"
    assert names("a/test") == [f"test-00000-of-00001{ending}"]
    assert refusal("a/dev") == "a/dev: no such split or configuration; choose from train, test"


def test_configurations_that_a_readme_names() -> None:
    files = folder("a", "main/train.parquet", "hard/train.parquet", "hard/test.parquet")
    configs = [
        {"config_name": name, "data_files": [
            {"split": path.stem, "path": f"{name}/{path.name}"}
            for path in sorted((files / name).iterdir())
        ]}
        for name in ("main", "hard")
    ]  # fmt: skip
    (files / "README.md").write_text(f"---\nconfigs: {json.dumps(configs)}\n---\n")
    assert refusal("a") == "a: has the configurations main, hard; name one: a/main"
    assert names("a/main") == names("a/main/train") == ["train.parquet"]
    assert names("a/hard/test") == ["test.parquet"]
    assert "has the splits train, test; name one" in refusal("a/hard")


def test_what_datasets_saved() -> None:
    rows = datasets.Dataset.from_list(ROWS)
    rows.save_to_disk("saved")
    datasets.DatasetDict(train=rows).save_to_disk("one")
    datasets.DatasetDict(train=rows, test=rows).save_to_disk("two")
    assert names("saved") == ["saved"]
    assert names("one") == names("two/train") == ["train"]
    assert refusal("two") == "two: has the splits train, test; name one: two/train"
    assert refusal("saved/train") == "saved/train: saved has no splits; name the folder alone"


def test_what_curate_made_is_its_examples_alone() -> None:
    folder("curated", "examples.parquet", "rejected.parquet")
    Path("curated/manifest.json").write_text("{}")
    assert names("curated") == ["examples.parquet"]


def test_a_data_set_of_the_hub_that_is_in_the_cache(tmp_path: Path) -> None:
    cached = tmp_path / "cache" / "datasets--owner--name"
    folder(str(cached / "snapshots" / "abc"), "train.jsonl", "test.jsonl")
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text("abc")
    assert names("owner/name/train") == ["train.jsonl"]
    assert refusal("owner/name").endswith("name one: owner/name/train")


@pytest.mark.parametrize("files", [("a.jsonl", "b.jsonl", "c.parquet"), ("train.csv", "more.csv")])
def test_no_file_of_a_folder_is_left_out_without_a_word(files: tuple[str, ...]) -> None:
    folder("a", *files)
    for reference in ("a", "a/train"):
        assert f"a: {files[-1]} would be left out" in refusal(reference)


def test_what_is_beside_the_files_of_a_folder_does_no_harm(tmp_path: Path) -> None:
    folder("a", "part-0.snappy.parquet", "part-1.snappy.parquet")
    for name in ("_SUCCESS", ".part-0.crc", "LICENSE", "README.md", "dataset_infos.json"):
        (tmp_path / "a" / name).write_text("{}")
    assert names("a") == ["part-0.snappy.parquet", "part-1.snappy.parquet"]


@pytest.mark.parametrize("name", ["a.zip", "a.JSONL", "README.md"])
def test_a_folder_that_the_library_does_not_take_is_reported_in_one_line(name: str) -> None:
    Path("a").mkdir()
    Path("a", name).write_text("---\nconfigs: [\n---\n")
    assert refusal("a").startswith("a: not the folder of a data set (")


def test_what_is_not_here(tmp_path: Path) -> None:
    folder("deep/down", "a.jsonl")
    for reference in ("nowhere", "nowhere.jsonl", "deep/down/b.jsonl", "no/where.jsonl", "/x/y"):
        assert refusal(reference) == f"{reference}: no such file or folder; check the path"
    assert "only shells expand wildcards" in refusal("deep/down/*.jsonl")
    said = refusal("owner/other")
    assert said.startswith("owner/other: neither a file or folder here nor a data set on the hub")
    Path("empty").mkdir()
    assert refusal("empty").startswith("empty: not the folder of a data set (")
    # All that is below a folder is no data set, however much it is.
    assert "no such file" in refusal(str(tmp_path / "gone" / "train"))
