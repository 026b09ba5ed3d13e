"""The stages by name, imported only where they run (they bring torch)."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from types import ModuleType
from typing import cast

from wmss_cli.core.artifact import Job
from wmss_cli.core.manifest import Manifest

MODULES = {
    "demo_data": "demo_data",
    "curate": "curate",
    "curate_shard": "curate_shard",
    "tokenize": "tokenize",
    "sft": "sft",
    "score_entropy": "score_entropy",
    "score_shard": "score_shard",
    "build_curriculum": "build_curriculum",
    "joint_train": "joint_train",
    "eval": "evaluate",
    "eval_shard": "eval_shard",
    "grade": "grade",
    "analyze": "analyze",
    "report": "report",
    "probe": "probe",
    "bench": "bench",
}

DISTRIBUTED = frozenset({"sft", "joint_train", "probe"})
"""Stages that run on several ranks together; the others are one process."""


def load(stage: str) -> Callable[[Job], Manifest | None]:
    """Import a stage and return its ``run``."""
    return cast(Callable[[Job], Manifest | None], _module(stage).run)


def load_merge(stage: str) -> Callable[[Job], Manifest]:
    """Import a stage in shards and return its ``run_merge``, which computes no shard itself."""
    return cast(Callable[[Job], Manifest], _module(stage).run_merge)


def _module(stage: str) -> ModuleType:
    return importlib.import_module(f"wmss_cli.stages.{MODULES[stage]}")
