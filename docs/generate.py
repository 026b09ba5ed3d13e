"""Write the pages that are made from the code: ``python docs/generate.py [--check]``.

``configuration.md`` comes from the models in :mod:`wmss_cli.core.config`, ``profile.md`` from
those in :mod:`wmss_cli.slurm.profile`, ``cli.md`` from the help of the commands, and the tables in
``plan.md`` and ``reproduce.md`` from :mod:`wmss_cli.preflight.forecast`. With ``--check`` nothing
is written; if a page is stale, one line says so and the exit code is 1.
"""

from __future__ import annotations

import re
import sys
import textwrap
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import plan_tables
import typer
from pydantic import BaseModel
from typer.cli import get_docs_for_click

from wmss_cli.cli.main import app
from wmss_cli.core.config import Config, Section
from wmss_cli.slurm.profile import OWNED, Profile, Resources

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

All options are in one YAML file, with a section for each stage. `wmss init` writes examples;
`wmss config show -c FILE` prints every option, its value and where it comes from.

## Which value counts

The strongest source wins:

1. options of the command, such as `--learning-rate 3e-5`;
2. `--set KEY=VALUE`, such as `--set sft.learning_rate=3e-5`; the last one, if there are several;
3. the YAML file;
4. the defaults on this page.

- Keys are dotted: `sft.epochs` is `epochs` in the section `sft`.
- The value of `--set` is read as YAML: `--set data=[a.jsonl,b.jsonl.zst]`, `--set model=null`.
  An empty value (`--set eval.system_prompt=''`) is the empty text.
- `run_dir`, `model`, `models`, `data`, `task_data`, `eval_files` and YAML files among `tasks` and
  `decontaminate` are paths. In a YAML file they are relative to that file, on the command line to
  the current folder. In both, `~` is your home folder and `$NAME` or `${NAME}` a variable of your
  shell; a variable that is not set, or empty, is an error. A `model` of the form `owner/name` in a
  YAML file is a hub id, unless such a folder exists beside the file; the same applies to `data`.
- The file is read as YAML 1.2: `true` and `false` alone are booleans (`yes`, `no`, `on` and `off`
  are texts), dates and `1:30` are texts, and a number with a leading zero is an error. Anchors and
  merges (`<<: *NAME`) work; a top-level key that begins with `x-` is ignored except for its
  anchors. An empty section has its default values.
- An unknown key, a duplicate key and a value of the wrong type are errors (exit code 3) that name
  the file and the line.
- A top-level `seed` applies to every section whose seed is not set by any source. With `seeds`
  there is one run for each of them, and `sft`, `curriculum`, `joint` and `eval` may not set their
  own.

## Arms, seeds and models

A configuration is a study: each of its `arms`, with each of its `seeds`, from each of its `models`.
[Arms, seeds and models](arms.md) explains the catalogue, what is shared, and what is refused.

```yaml
model: Qwen3-4B-Base                       # or models: {4b: Qwen3-4B-Base, 8b: Qwen3-8B-Base}
arms: [sft, wmss, continued_sft]           # names of the catalogue; or, below each other:
# arms:
#   wmss:                                  # as in the catalogue
#   lam42: {like: wmss, joint.mix_lambda: 0.42}
seeds: [0, 1, 2]                           # empty: once, with 'seed'
compare_with: continued_sft                # the arm that differences are taken from
tables: [methods, logits]                  # what the report shows
```

On the command line: `--set seeds=[0]`, `--set "arms=[m1, wmss]"`,
`--set "arms={lam42: {like: wmss, joint.mix_lambda: 0.42}}"`. The list or mapping replaces that of
the file completely.

## What makes a result another one

The column *in fingerprint* says whether an option is part of the
[fingerprint](artifacts.md#fingerprint-and-digest) of its stage. **no** marks options that change
how a stage runs but not its result: with another value, finished work still counts as done.

"""

_RULES = """## Rules between options

- `global_batch_size` is at least the number of processes. The number of micro-batches in a step
  follows from `micro_batch_tokens` and the lengths of the samples.
- `precision: bf16` needs `zero_stage` 1, 2 or 3, which keep fp32 master weights. `auto` is bf16 on
  a GPU, so it needs one of these there too.
- `joint.mix_lambda` 0 is refused, because the strong model would get no gradient.
- With `iterations` above 1, `joint.next_weak: cotrained` needs `joint.weak_mode: cotrain` and
  `joint.weak_logits: model`.
- `wmss run` needs `model` or `models` (not both), `data`, and `tasks` or `eval_files`.
- An arm may set `iterations` and options of `sft`, `curriculum`, `joint` and `extrapolate`, but no
  seed.
- `joint.weak_logits` `shuffled` and `noise` need `joint.weak_mode: frozen`. `joint.cache_weak`
  needs `joint.weak_mode: frozen` and `joint.weak_logits: model`. Arms of the catalogue set these
  as needed.
- `compare_with` names one of the arms; no seed is given twice.
- `eval.samples` above 1 and `eval.top_p` below 1 need an `eval.temperature` above 0.
- `tokenize.system_prompt` and `eval.system_prompt` are separate options: change both together.
"""

_TOP_LEVEL = """No fingerprint contains these options directly: `model`, `models`, `data`, `tasks`,
`decontaminate` and `eval_files` count by their content, `seed` and `seeds` through the sections,
and the others decide where results go and which steps a run has.

"""

_CLI = """# Commands

Results go to stdout; progress, summaries and errors go to stderr. `--json` prints JSON to stdout
instead of a table. A key in brackets in a help text, such as `[launch.processes]`, is the option in
the [configuration](configuration.md). [Artifacts](artifacts.md#exit-codes) lists the exit codes.

"""


_PROFILE = """# Profiles

A profile says what the jobs of a run request from a Slurm cluster. `--profile h800:8b` selects the
variant `8b` of a profile that ships with wmss, and `--profile cluster.yaml` selects a file.
`wmss init --profile` writes one for the cluster that it finds. [On a cluster](slurm.md#profiles)
explains the values further.

The strongest source wins: `--slurm KEY=VALUE` (the last one, if there are several for a key), the
values of the variant, the YAML file, the defaults on this page. No value is part of a fingerprint:
with another profile, finished work still counts as done.

"""

_SHARED_DEFAULTS = """The four sections have the same keys and the same defaults: `train.nodes`,
`eval.time_limit_min` and so on. Stages with a single process get `nodes` 1 and `tasks_per_node` 1,
whatever their section says.

"""

_PROFILE_RULES = """## Rules between values

- `tasks_per_node` is at most `gpus_per_node`, if that is above 0: each process needs a GPU.
- `signal_lead_s` plus 60 s fits into `time_limit_min`.
- `global_batch_size` of the [configuration](configuration.md) is at least `train.nodes` times
  `train.tasks_per_node`.
- Control characters, including line breaks, are refused in any text.
- A name in `environment` that looks like a secret is refused, because its value would be written
  into a script.
- `sbatch` accepts long option names in lower case, without leading dashes. These are refused,
  because wmss sets them itself, most of them from the fields above:
"""


def configuration_page() -> str:
    """Return ``configuration.md``."""
    sections = _sections(Config)
    page = _NOTICE + _CONFIGURATION
    page += f"## Top level\n\n{Config.__doc__}\n\n{_TOP_LEVEL}{_table(Config, '', sections)}\n"
    for name, section in sections.items():
        # Where a stage runs does not change its result.
        execution = section.model_fields if name == "launch" else section.EXECUTION
        page += f"## `{name}`\n\n{section.__doc__}\n\n"
        page += _table(section, f"{name}.", execution=execution) + "\n"
    return page + _RULES


def profile_page() -> str:
    """Return ``profile.md``."""
    sections = _sections(Profile)
    page = _NOTICE + _PROFILE
    page += f"## Top level\n\n{Profile.__doc__}\n\n{_table(Profile, '', sections)}\n"
    page += f"## {', '.join(f'`{name}`' for name in sections)}\n\n{Resources.__doc__}\n\n"
    rows = [["section", "jobs"], ["---"] * 2]
    rows += [[f"`{name}`", Profile.model_fields[name].description or ""] for name in sections]
    page += _rows(rows) + "\n" + _SHARED_DEFAULTS + _table(Resources, "") + "\n"
    names = ", ".join(f"`{name}`" for name in sorted(OWNED))
    owned = textwrap.wrap(names, 96, break_on_hyphens=False)
    return page + _PROFILE_RULES + "".join(f"  {line}\n" for line in owned)


def _sections(model: type[BaseModel]) -> dict[str, type[Section]]:
    return {
        name: field.annotation
        for name, field in model.model_fields.items()
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section)
    }


def _table(
    section: type[Section],
    prefix: str,
    leave_out: Collection[str] = (),
    execution: Collection[str] | None = None,
) -> str:
    """Return a row for each field; `execution` adds whether it is part of the fingerprint."""
    columns = ["key", "type", "default", "meaning", "allowed"]
    if execution is not None:
        columns.append("in fingerprint")
    rows = [columns, ["---"] * len(columns)]
    long_defaults = ""
    for name, schema in section.model_json_schema()["properties"].items():
        if name in leave_out:
            continue
        default = section.model_fields[name].get_default(call_default_factory=True)
        shown = f"`{_yaml(default)}`"
        if isinstance(default, str) and len(default) > _LONG_DEFAULT:
            shown = "below"
            long_defaults += f"\nThe default of `{prefix}{name}`:\n\n```text\n{default}\n```\n"
        kind, allowed = _kind(schema)
        meaning = " ".join(schema["description"].split())
        row = [f"`{prefix}{name}`", kind, shown, meaning, allowed]
        if execution is not None:
            row.append("**no**" if name in execution else "yes")
        rows.append(row)
    return _rows(rows) + long_defaults


def _rows(rows: list[list[str]]) -> str:
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def _yaml(value: Any) -> str:
    if isinstance(value, str):
        return value or "''"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return f"{value:g}" if isinstance(value, float) else str(value)


def _kind(schema: dict[str, Any]) -> tuple[str, str]:
    """Return the type of a field and what of it is allowed, in words."""
    if "anyOf" in schema:
        kinds = [_kind(part) for part in schema["anyOf"] if part["type"] != "null"]
        null = ["null"] if len(kinds) < len(schema["anyOf"]) else []
        return " or ".join([*(kind for kind, _ in kinds), *null]), kinds[0][1]
    if "const" in schema:
        return f"`{schema['const']}`", ""
    if "enum" in schema:
        return "choice", ", ".join(f"`{value}`" for value in schema["enum"])
    if schema["type"] == "array":
        kind, allowed = _kind(schema["items"])
        return f"list of {kind}", allowed
    if schema["type"] == "object":
        inner = schema["additionalProperties"]
        # True stands for values of any type.
        return "mapping" if inner is True else f"{_kind(inner)[0]} by name", ""
    bounds = [f"{word} {schema[key]:g}" for key, word in _BOUNDS.items() if key in schema]
    return _TYPES[schema["type"]], ", ".join(bounds)


def cli_page() -> str:
    """Return ``cli.md``, by the same means as ``typer wmss_cli.cli.main utils docs``."""
    command = typer.main.get_command(app)
    context = command.make_context("wmss", [], resilient_parsing=True)
    page = get_docs_for_click(obj=command, ctx=context, indent=1, name="wmss")
    page = re.sub(r"^Example: (.*)$", r"```console\n$ \1\n```", page, flags=re.MULTILINE)
    return _NOTICE + _CLI + page.rstrip() + "\n"


def with_tables(name: str, tables: Mapping[str, list[list[str]]]) -> str:
    """Return a page with new tables; its text is written by hand."""
    page = (DOCS / name).read_text(encoding="utf-8")
    for table, rows in tables.items():
        begin, end = f"<!-- {table}: written by {COMMAND} -->\n", f"<!-- end of {table} -->\n"
        before, rest = page.split(begin)
        after = rest.split(end)[1]
        text = _rows([rows[0], ["---"] * len(rows[0]), *rows[1:]])
        page = f"{before}{begin}\n{text}\n{end}{after}"
    return page


def main(check: bool) -> int:
    """Write the pages, or say which are stale."""
    pages = {
        "configuration.md": configuration_page(),
        "profile.md": profile_page(),
        "cli.md": cli_page(),
        "plan.md": with_tables("plan.md", plan_tables.tables()),
        "reproduce.md": with_tables("reproduce.md", plan_tables.costs()),
    }
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
