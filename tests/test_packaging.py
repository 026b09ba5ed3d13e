"""The wheel works alone: built, installed in an empty environment, run outside the repository."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest
from tiny import make_tiny_model

ROOT = Path(__file__).parents[1]


def run(*command: str | Path, cwd: Path) -> str:
    # Nothing of the environment that runs the tests may leak into the empty one.
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in ("PYTHONPATH", "VIRTUAL_ENV")
    }
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def test_every_subpackage_is_packaged() -> None:
    listed = (ROOT / "pyproject.toml").read_text()
    for folder in (ROOT / "wmss_cli").iterdir():
        if (folder / "__init__.py").is_file():
            assert f'"wmss_cli.{folder.name}"' in listed


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_wheel_init_and_a_small_run(tmp_path: Path, shared_data: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(
        ROOT,
        source,
        ignore=shutil.ignore_patterns(".git", ".venv", ".kernels", "runs", "build", "*.egg-info"),
    )
    run(sys.executable, "-m", "build", "--wheel", "--outdir", tmp_path, source, cwd=tmp_path)
    (wheel,) = tmp_path.glob("wmss-*.whl")
    venv.create(tmp_path / "empty", with_pip=True)
    bin_ = tmp_path / "empty" / "bin"
    constraints = ROOT / "constraints.txt"
    run(bin_ / "pip", "install", "--quiet", "-c", constraints, wheel, cwd=tmp_path)

    project = tmp_path / "project"
    written = run(bin_ / "wmss", "init", project, cwd=tmp_path).split()
    assert {Path(line).name for line in written} == {
        path.name
        for folder in ("configs", "slurm_templates")
        for path in (ROOT / folder).glob("*.yaml")
    }
    make_tiny_model(project / "base")
    results = run(
        bin_ / "wmss",
        "run",
        project / "demo.yaml",
        "--json",
        *("--set", "model=base"),
        *("--set", f"data=[{shared_data / 'am_synth.jsonl'}]"),
        *("--set", f"eval_files={{gsm8k: {shared_data / 'gsm8k.jsonl'}}}"),
        *("--set", "arms=[base,m1,wmss]", "--set", "seeds=[]", "--set", "compare_with=null"),
        *("--set", "tokenize.max_seq_len=600"),
        *("--set", "eval={limit: 4, max_new_tokens: 4}"),
        *("--set", "sft.max_steps=2"),
        *("--set", "joint.max_steps=2"),
        *("--out", project / "runs"),
        cwd=project,
    )
    assert [arm["arm"] for arm in json.loads(results)["arms"]] == ["base", "m1", "wmss"]
    (report,) = (project / "runs").glob("report-*")
    assert (report / "report.html").read_text().startswith("<!doctype html>")
