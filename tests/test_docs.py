"""The documentation says what the code does: names exist, links lead somewhere, pages are fresh."""

from __future__ import annotations

import ast
import functools
import importlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from wmss_cli.cli.main import app
from wmss_cli.core import errors, schema
from wmss_cli.core.config import Config
from wmss_cli.core.manifest import Manifest
from wmss_cli.core.resolve import flatten
from wmss_cli.slurm.profile import Profile

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")),
    *sorted(DOCS.glob("*.md")),
]
COMMANDS = typer.main.get_command(app)


def code_spans(page: Path) -> list[str]:
    """Return what is in back-ticks, outside of fenced blocks."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    return re.findall(r"`([^`\n]+)`", text)


def find(name: str) -> Any:
    """Import the longest module of a dotted name, and return what the rest names in it."""
    parts = name.split(".")
    for count in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:count]))
        except ModuleNotFoundError:
            continue
        return functools.reduce(getattr, parts[count:], found)
    raise ModuleNotFoundError(name)


def generate(*arguments: str, folder: Path = DOCS, **environment: str) -> Any:
    return subprocess.run(
        [sys.executable, str(folder / "generate.py"), *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
def test_generated_pages_are_the_same_in_every_terminal_and_a_stale_one_is_named(
    tmp_path: Path,
) -> None:
    for name in (
        *("generate.py", "plan_tables.py"),
        *("cli.md", "configuration.md", "plan.md", "profile.md", "reproduce.md"),
    ):
        shutil.copy(DOCS / name, tmp_path / name)
    with (tmp_path / "cli.md").open("a") as page:
        page.write("By hand.\n")
    # 'make docs' checks them, too, in a terminal as it is.
    done = generate("--check", folder=tmp_path, COLUMNS="30", FORCE_COLOR="1")
    assert done.returncode == 1
    assert done.stderr == "stale: docs/cli.md; run 'python docs/generate.py'\n"
    assert generate(folder=tmp_path, COLUMNS="30", FORCE_COLOR="1").returncode == 0
    assert (tmp_path / "cli.md").read_text() == (DOCS / "cli.md").read_text()


def test_the_readme_names_the_two_commands() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in ("demo", "test"):
        assert f"make {target}" in readme
        assert f"\n{target}:" in makefile


def test_the_method_page_names_the_functions_of_every_equation() -> None:
    named = [span for span in code_spans(DOCS / "method.md") if span.startswith("wmss_cli.")]
    assert len(named) > 15
    assert all(callable(find(name)) for name in named)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_names_of_code_exist(page: Path) -> None:
    for span in code_spans(page):
        if re.fullmatch(r"wmss_cli(\.\w+)+", span):
            assert find(span) is not None
        elif re.fullmatch(r"(wmss_cli|tests)/[\w/]+(/|\.py)", span):
            assert (ROOT / span).exists(), span


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_options_that_are_named_exist(page: Path) -> None:
    known = flatten(Config()) | flatten(Profile())
    sections = "|".join({key.partition(".")[0] for key in known if "." in key})
    for span in code_spans(page):
        key = re.fullmatch(
            rf"(?:--set |--slurm )?((?:{sections})\.(?!parquet|jsonl)\w+)(?:[:=].*)?", span
        )
        if key is not None:
            assert key[1] in known, span


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_and_their_options_exist(page: Path) -> None:
    text = re.sub(r"\\\n", " ", page.read_text(encoding="utf-8"))
    for line in re.findall(r"^\$ wmss (.*)$", text, flags=re.M):
        command: Any = COMMANDS
        words = line.partition("#")[0].split()
        while words and hasattr(command, "commands") and words[0][0] not in "-[":
            command = command.commands[words.pop(0)]
        known = {name for option in command.params for name in option.opts + option.secondary_opts}
        named = {word.partition("=")[0] for word in words if re.match(r"--\w", word)}
        assert named <= known | {"--help"}, line


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_tests_that_are_named_exist(page: Path) -> None:
    for span in code_spans(page):
        if "::" in span:
            file, name = span.split("::")
            tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
            assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def links(page: Path) -> Iterator[tuple[Path, str]]:
    """Yield the file and the heading that each internal link leads to."""
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" not in target:
            path, _, heading = target.partition("#")
            yield (page.parent / path).resolve() if path else page, heading


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as MkDocs and GitHub make them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), flags=re.M)
    return {re.sub(r"[^\w\s-]", "", h).strip().lower().replace(" ", "-") for h in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_internal_links_lead_somewhere(page: Path) -> None:
    for target, heading in links(page):
        assert target.is_file(), target
        assert not heading or heading in anchors(target), heading


def test_every_page_is_in_the_navigation() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:")[2]
    assert sorted(re.findall(r"[\w-]+\.md", navigation)) == sorted(
        p.name for p in DOCS.glob("*.md")
    )


@pytest.mark.parametrize("front", [ROOT / "README.md", DOCS / "index.md"], ids=lambda p: p.name)
def test_every_page_is_linked_from_the_front_pages(front: Path) -> None:
    linked = {target.name for target, _ in links(front)}
    assert {page.name for page in DOCS.glob("*.md")} - linked <= {"index.md"}


def test_every_column_and_field_of_an_artifact_is_explained() -> None:
    explained = set(code_spans(DOCS / "artifacts.md"))
    for table in (
        schema.EXAMPLE,
        schema.REJECTED,
        schema.TOKENS,
        schema.ENTROPY,
        schema.LOSSES,
        schema.CURRICULUM,
        schema.ACTIVE,
        schema.GENERATION,
    ):
        assert set(table.names) <= explained
    assert Manifest.model_fields.keys() <= explained


def test_every_exit_code_is_explained() -> None:
    codes = re.findall(r"^\| (\d+) \|", (DOCS / "artifacts.md").read_text(), flags=re.M)
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    raised = {kind.exit_code for kind in kinds if issubclass(kind, errors.WmssError)}
    assert {str(code) for code in raised} <= set(codes)
