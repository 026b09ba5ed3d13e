"""The layers hold: over the syntax trees of all modules, and in what a process really imports."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "wmss_cli"
MODULES = sorted(PACKAGE.rglob("*.py"))

LAYERS = (
    ("core",),
    ("models",),
    ("data", "score", "train", "answers", "programs", "evaluate", "results"),
    ("bench",),
    ("stages",),
    ("launch",),
    ("slurm",),
    ("preflight",),
    ("cli",),
)
"""From the lowest to the highest; packages of one layer do not import each other."""

HEIGHT = {package: height for height, layer in enumerate(LAYERS) for package in layer}

HEAVY = {"torch", "transformers", "datasets", "deepspeed"}
"""Seconds to import; only what runs inside a job may do so."""

LIGHT_PACKAGES = ("cli", "core", "launch", "preflight", "slurm")
LIGHT_MODULES = (
    "wmss_cli.bench.results",
    "wmss_cli.data.chat",
    "wmss_cli.data.packing",
    "wmss_cli.data.tokens",
    "wmss_cli.programs.sandbox",
    "wmss_cli.results.comparison",
    "wmss_cli.results.power",
    "wmss_cli.evaluate.problems",
    "wmss_cli.evaluate.tasks",
    "wmss_cli.models.architectures",
    "wmss_cli.models.delta_net",
    "wmss_cli.models.context",
    "wmss_cli.models.folder",
    "wmss_cli.models.weight_shapes",
    "wmss_cli.stages.grade",
    "wmss_cli.models.consistency",
    "wmss_cli.models.published",
    "wmss_cli.models.shape",
    "wmss_cli.models.stops",
    "wmss_cli.models.template",
    "wmss_cli.models.vocabulary",
    "wmss_cli.models.weights",
    "wmss_cli.stages.bench_config",
    "wmss_cli.stages.demo",
    "wmss_cli.stages.model_checks",
    "wmss_cli.stages.pipeline",
    "wmss_cli.stages.probe_config",
    "wmss_cli.stages.shards",
    "wmss_cli.stages.table",
    "wmss_cli.train.activations",
    "wmss_cli.train.buckets",
    "wmss_cli.train.fitting",
    "wmss_cli.train.memory",
)

MAX_LINES = 400


def dotted(path: Path) -> str:
    """Return the name under which a file is imported."""
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(nodes: Iterator[ast.AST]) -> Iterator[str]:
    """Yield the dotted names that import statements ask for."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: import by the full name"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def at_module_level(node: ast.AST) -> Iterator[ast.AST]:
    """Walk a tree without the bodies of functions."""
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield child
            yield from at_module_level(child)


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def is_light(path: Path) -> bool:
    return dotted(path) in LIGHT_MODULES or dotted(path).split(".")[1:2] in [
        [package] for package in LIGHT_PACKAGES
    ]


def upward(module: str, names: Iterator[str]) -> list[str]:
    """Return what a module imports that is not below it."""
    own = module.split(".")[1]
    others = [name.split(".")[1] for name in names if name.startswith("wmss_cli.")]
    return [o for o in others if o in HEIGHT and o != own and HEIGHT[o] >= HEIGHT[own]]


def test_every_package_has_its_place_in_a_layer() -> None:
    packages = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert packages == HEIGHT.keys()
    assert [path.name for path in PACKAGE.glob("*.py")] == ["__init__.py"]


@pytest.mark.parametrize("path", MODULES, ids=dotted)
def test_imports_go_down_only(path: Path) -> None:
    if path.parent != PACKAGE:
        assert upward(dotted(path), imported(ast.walk(tree(path)))) == []


@pytest.mark.parametrize(
    ("module", "statement", "found"),
    [
        ("wmss_cli.score.entropy", "from wmss_cli.train.objectives import mixed", ["train"]),
        ("wmss_cli.core.config", "import wmss_cli.models.folder", ["models"]),
        ("wmss_cli.stages.sft", "from wmss_cli import launch", ["launch"]),
        ("wmss_cli.core.files", "def f():\n    from wmss_cli.cli import main", ["cli"]),
        ("wmss_cli.stages.sft", "from wmss_cli.stages.training import run_training", []),
        ("wmss_cli.cli.main", "import wmss_cli\nfrom wmss_cli.core import errors", []),
    ],
)
def test_an_import_that_goes_up_or_aside_is_found(
    module: str, statement: str, found: list[str]
) -> None:
    assert upward(module, imported(ast.walk(ast.parse(statement)))) == found


@pytest.mark.parametrize("path", MODULES, ids=dotted)
def test_no_module_is_long(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").count("\n")
    assert lines <= MAX_LINES, "it holds two ideas: cut it in two"


@pytest.mark.parametrize("path", filter(is_light, MODULES), ids=dotted)
def test_light_modules_import_nothing_heavy(path: Path) -> None:
    assert HEAVY.isdisjoint(n.split(".")[0] for n in imported(at_module_level(tree(path))))


def heavy_after(statements: str) -> set[str]:
    """Run statements in a new process and return which heavy packages it has imported then."""
    report = f"import json, sys; print(json.dumps(sorted({HEAVY} & sys.modules.keys())))"
    done = subprocess.run(
        [sys.executable, "-c", f"{statements}\n{report}"],
        capture_output=True,
        text=True,
        check=True,
    )
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_light_modules_import_nothing_heavy_through_others() -> None:
    names = [dotted(path) for path in MODULES if is_light(path)]
    assert set(LIGHT_MODULES) <= set(names)
    assert heavy_after("\n".join(f"import {name}" for name in names)) == set()


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["config", "show"]])
def test_help_and_configuration_answer_without_torch(arguments: list[str]) -> None:
    statements = f"""
import sys
from wmss_cli.cli.main import main
sys.argv = ["wmss", *{arguments}]
try:
    main()
except SystemExit as end:
    assert not end.code
"""
    assert heavy_after(statements) == set()
