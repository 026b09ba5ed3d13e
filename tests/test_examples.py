"""The examples of the documentation run, and print what the page shows."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

from wmss_cli.core.artifact import Job, open_draft
from wmss_cli.core.config import CurriculumConfig
from wmss_cli.core.schema import ENTROPY, write_parquet
from wmss_cli.stages import build_curriculum

DOCS = Path(__file__).parents[1] / "docs"
SCRIPTS = sorted((DOCS / "examples").glob("*.py"))
MOST_LINES = 40

SHOWN = dict(
    re.findall(
        r'^```text title="(\S+) prints"\n(.*?)^```$',
        (DOCS / "examples.md").read_text(encoding="utf-8"),
        flags=re.M | re.S,
    )
)


def write_entropies(folder: Path, values: dict[str, float]) -> str:
    rows = [{"example_id": i, "entropy": h, "completion_tokens": 1} for i, h in values.items()]
    with open_draft(Job("score_entropy", {}, {"rows": rows}, {}, str(folder))) as draft:
        write_parquet(draft.folder / "entropy.parquet", rows, ENTROPY)
        draft.commit({"dtype": "torch.float32"})
    return str(folder)


@pytest.fixture
def curriculum(tmp_path: Path) -> str:
    """Folder of a build-curriculum artifact of three samples."""
    config = CurriculumConfig()
    inputs = {
        "weak": write_entropies(tmp_path / "weak", {"a": 1.0, "b": 2.0, "c": 1.0}),
        "strong": write_entropies(tmp_path / "strong", {"a": 0.5, "b": 2.0, "c": 1.5}),
    }
    out = str(tmp_path / "curriculum")
    dumped = config.model_dump(mode="json")
    build_curriculum.run(Job("build_curriculum", dumped, config.identity(), inputs, out))
    return out


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_an_example_prints_what_the_page_shows(
    script: Path,
    curriculum: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sys.argv", [str(script), curriculum])
    runpy.run_path(str(script), run_name="__main__")
    assert capsys.readouterr().out == SHOWN[script.name]


def test_the_page_shows_every_example_and_each_is_short() -> None:
    page = (DOCS / "examples.md").read_text(encoding="utf-8")
    included = re.findall(r'^--8<-- "docs/examples/(\S+)"$', page, flags=re.M)
    assert sorted(included) == sorted(SHOWN) == [script.name for script in SCRIPTS]
    for script in SCRIPTS:
        assert len(script.read_text(encoding="utf-8").splitlines()) < MOST_LINES
