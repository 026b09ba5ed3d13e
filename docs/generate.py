"""Write the pages that are made from the code: ``python docs/generate.py [--check]``.

``configuration.md`` comes from the models in :mod:`wmss_cli.core.config`, ``cli.md`` from the
help of the commands. With ``--check`` nothing is written; where a page is stale, one line says
so and the exit code is 1.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import typer
from pydantic import BaseModel
from typer.cli import get_docs_for_click

from wmss_cli.cli.main import app
from wmss_cli.core.config import Config, Section

DOCS = Path(__file__).parent
COMMAND = "python docs/generate.py"

_NOTICE = f"<!-- Written by {COMMAND}; change the code, not this page. -->\n\n"
_LONG_DEFAULT = 60
_TYPES = {"string": "text", "integer": "integer", "number": "number", "boolean": "boolean"}
_BOUNDS = {
    "minimum": "at least",
    "exclusiveMinimum": "above",
    "maximum": "at most",
    "exclusiveMaximum": "below",
}

_CONFIGURATION = """# Configuration

All options stand in one YAML file, a section for each stage. `wmss init` writes examples;
`wmss config show -c FILE` prints every option, its value and where it came from.

## Which value counts

The strongest source wins:

1. options of the command, such as `--learning-rate 3e-5`;
2. `--set KEY=VALUE`, such as `--set sft.learning_rate=3e-5`; of several, the last one;
3. the YAML file;
4. the defaults on this page.

- Keys are dotted: `sft.epochs` is `epochs` in the section `sft`.
- The value of `--set` is read as YAML: `--set data=[a.jsonl,b.jsonl.zst]`, `--set model=null`.
- `run_dir`, `model`, `data` and `eval_files` are paths. In a YAML file they are relative to that
  file, on the command line to the current folder. A `model` of the form `owner/name` in a YAML
  file is a hub id, unless there is such a folder beside the file.
- An unknown key, a key that stands twice and a value of the wrong type are errors (exit code 3)
  that name the file and the line.
- A top-level `seed` goes to every section with a seed that the sources do not set.

## What makes a result another one

The column *in fingerprint* says whether an option is a part of the
[fingerprint](artifacts.md#fingerprint-and-digest) of its stage. **no** marks options that change
how a stage runs but not what it makes: with another value, finished work still counts as done.

"""

_RULES = """## Rules between options

- `global_batch_size` is a multiple of `micro_batch_size` times `launch.processes`. The quotient is
  the number of accumulation steps.
- `precision: bf16` needs `zero_stage` 1, 2 or 3, which keep fp32 master weights. `auto` is bf16 on
  a GPU: set one of these there, too.
- `joint.mix_lambda` 0 is refused: the strong model would get no gradient.
- With `iterations` above 1, `joint.next_weak: cotrained` needs `joint.weak_mode: cotrain` and
  `joint.weak_logits: model`.
- `wmss run` needs `model`, `data` and `eval_files`.
- `tokenize.system_prompt` and `eval.system_prompt` are two options: change both together.
"""

_TOP_LEVEL = """No fingerprint holds these as they are: `model`, `data` and `eval_files` count by
their content, `seed` through the sections, and the others decide where results go and which steps
there are.

"""

_CLI = """# Commands

Results go to stdout; progress, summaries and errors go to stderr. `--json` prints JSON to stdout
instead of a table. Where a help text names a key in brackets, such as `[launch.processes]`, that is
the option in the [configuration](configuration.md). Exit codes are listed under
[Artifacts](artifacts.md#exit-codes).

"""


def configuration_page() -> str:
    """Return ``configuration.md``."""
    sections = {
        name: field.annotation
        for name, field in Config.model_fields.items()
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
    }
    page = _NOTICE + _CONFIGURATION
    page += f"## Top level\n\n{Config.__doc__}\n\n{_TOP_LEVEL}{_table(Config, '', sections)}\n"
    for name, section in sections.items():
        assert issubclass(section, Section)
        page += f"## `{name}`\n\n{section.__doc__}\n\n{_table(section, f'{name}.')}\n"
    return page + _RULES


def _table(section: type[Section], prefix: str, leave_out: Any = ()) -> str:
    top_level = not prefix
    columns = ["key", "type", "default", "meaning", "allowed"]
    if not top_level:
        columns.append("in fingerprint")
    rows = [columns, ["---"] * len(columns)]
    long_defaults = ""
    for name, schema in section.model_json_schema()["properties"].items():
        if name in leave_out:
            continue
        default = schema["default"]
        shown = f"`{_yaml(default)}`"
        if isinstance(default, str) and len(default) > _LONG_DEFAULT:
            shown = "below"
            long_defaults += f"\nThe default of `{prefix}{name}`:\n\n```text\n{default}\n```\n"
        kind, allowed = _kind(schema)
        row = [f"`{prefix}{name}`", kind, shown, schema["description"], allowed]
        if not top_level:
            is_identity = name not in section.EXECUTION and prefix != "launch."
            row.append("yes" if is_identity else "**no**")
        rows.append(row)
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join(lines) + "\n" + long_defaults


def _yaml(value: Any) -> str:
    if isinstance(value, str):
        return value or "''"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return f"{value:g}" if isinstance(value, float) else str(value)


def _kind(schema: dict[str, Any]) -> tuple[str, str]:
    """Return the type of a field and what of it is allowed, in words."""
    if "anyOf" in schema:
        (inner,) = (part for part in schema["anyOf"] if part["type"] != "null")
        kind, allowed = _kind(inner)
        return f"{kind} or null", allowed
    if "enum" in schema:
        return "choice", ", ".join(f"`{value}`" for value in schema["enum"])
    if schema["type"] == "array":
        kind, allowed = _kind(schema["items"])
        return f"list of {kind}", allowed
    if schema["type"] == "object":
        return f"{_TYPES[schema['additionalProperties']['type']]} by name", ""
    bounds = [f"{word} {schema[key]:g}" for key, word in _BOUNDS.items() if key in schema]
    return _TYPES[schema["type"]], ", ".join(bounds)


def cli_page() -> str:
    """Return ``cli.md``, by the same means as ``typer wmss_cli.cli.main utils docs``."""
    command = typer.main.get_command(app)
    context = command.make_context("wmss", [], resilient_parsing=True)
    page = get_docs_for_click(obj=command, ctx=context, indent=1, name="wmss")
    page = re.sub(r"^Example: (.*)$", r"```console\n$ \1\n```", page, flags=re.MULTILINE)
    return _NOTICE + _CLI + page.rstrip() + "\n"


def main(check: bool) -> int:
    """Write both pages, or say which are stale."""
    pages = {"configuration.md": configuration_page(), "cli.md": cli_page()}
    stale = [
        name
        for name, text in pages.items()
        if not (DOCS / name).is_file() or (DOCS / name).read_text(encoding="utf-8") != text
    ]
    if check and stale:
        names = ", ".join(f"docs/{name}" for name in stale)
        print(f"stale: {names}; run '{COMMAND}'", file=sys.stderr)
        return 1
    for name in stale:
        (DOCS / name).write_text(pages[name], encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(check="--check" in sys.argv[1:]))
