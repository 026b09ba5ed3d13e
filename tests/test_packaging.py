"""The wheel works alone: built, installed beside its dependencies, run outside the repository."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import site
import subprocess
import sys
import tomllib
import venv
from importlib.metadata import packages_distributions
from itertools import chain
from pathlib import Path

import pytest
from tiny import make_tiny_model

from wmss_cli import __version__

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


def test_citation_and_changelog_name_the_version() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.findall(r"^## (\S+)", changelog, flags=re.M)[0] == __version__
    assert f"\nversion: {__version__}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")


def imported() -> set[str]:
    """Return the top-level packages that the code imports, at once or later."""
    found: set[str] = set()
    for path in (ROOT / "wmss_cli").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                found.add(node.module.split(".")[0])
    return found - set(sys.stdlib_module_names) - {"wmss_cli"}


def test_what_is_imported_is_declared() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = chain(project["dependencies"], *project["optional-dependencies"].values())
    declared = {re.split(r"[\[<>=;~ ]", line)[0].lower().replace("_", "-") for line in lines}
    distributions = packages_distributions()
    assert {
        name
        for name in imported()
        # What is not installed here is optional, and called as its package.
        if declared.isdisjoint(
            one.lower().replace("_", "-") for one in distributions.get(name, [name])
        )
    } == set()


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_wheel_init_and_a_small_run(tmp_path: Path, shared_data: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(
        ROOT,
        source,
        ignore=shutil.ignore_patterns(
            ".git", ".venv", ".kernels", "runs", "site", "build", "*.egg-info"
        ),
    )
    run(sys.executable, "-m", "build", "--wheel", "--outdir", tmp_path, source, cwd=tmp_path)
    (wheel,) = tmp_path.glob("wmss-*.whl")
    venv.create(tmp_path / "other")
    bin_ = tmp_path / "other" / "bin"
    install = (sys.executable, "-m", "pip", "--python", bin_ / "python", "install", "--quiet")
    run(*install, "--no-deps", wheel, cwd=tmp_path)
    # Its dependencies are there already; a path file's own path files are not read.
    (packages,) = (tmp_path / "other").glob("lib/python*/site-packages")
    (packages / "dependencies.pth").write_text("\n".join(site.getsitepackages()))
    where = run(bin_ / "python", "-c", "import wmss_cli; print(wmss_cli.__file__)", cwd=tmp_path)
    assert Path(where.strip()).is_relative_to(packages)

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
        *("--set", "arms=[base]", "--set", "seeds=[]", "--set", "compare_with=null"),
        *("--set", "tokenize.max_seq_len=600"),
        *("--set", "eval={limit: 4, max_new_tokens: 4}"),
        *("--out", project / "runs"),
        cwd=project,
    )
    assert [arm["arm"] for arm in json.loads(results)["arms"]] == ["base"]
    (report,) = (project / "runs").glob("report-*")
    assert (report / "report.html").read_text().startswith("<!doctype html>")
