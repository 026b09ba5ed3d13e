"""Where output goes: data to stdout, everything else to stderr."""

from __future__ import annotations

import json
from typing import Any

from rich.console import Console

out = Console()
"""Data: tables of results, paths, JSON."""

err = Console(stderr=True)
"""Progress, summaries, errors."""


def print_json(value: Any) -> None:
    """Print JSON to stdout, never wrapped or coloured."""
    print(json.dumps(value, indent=2, ensure_ascii=False))  # noqa: T201


def print_line(text: str) -> None:
    """Print one line to stdout, never wrapped or coloured (a path may be long)."""
    print(text)  # noqa: T201


def print_error(text: str) -> None:
    """Print an error to stderr as one line; on a terminal it begins with a red word."""
    err.print("[bold red]error:[/] ", end="", highlight=False)
    err.print(text, markup=False, highlight=False, soft_wrap=True)
