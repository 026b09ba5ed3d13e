"""Whether this machine has what wmss needs, and whether a model can be used (``wmss doctor``)."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from importlib import metadata
from pathlib import Path
from typing import Literal

from packaging.requirements import Requirement
from pydantic import BaseModel, ConfigDict

from wmss_cli.core.config import EvalConfig, TokenizeConfig
from wmss_cli.core.errors import ConfigError, IntegrityError, SandboxError
from wmss_cli.data.chat import Renderer
from wmss_cli.evaluate.tasks import Task
from wmss_cli.models.consistency import ModelFacts
from wmss_cli.models.consistency import examine as examine_files
from wmss_cli.models.folder import find_model
from wmss_cli.models.vocabulary import Vocabulary
from wmss_cli.programs.sandbox import find_level, reaches
from wmss_cli.stages.model_checks import check_prompts

_GIB = 2**30
_LITTLE_DISK_GIB = 20


class Finding(BaseModel):
    """One thing that was checked."""

    model_config = ConfigDict(frozen=True)

    what: str
    state: Literal["ok", "note", "missing"]
    found: str
    advice: str = ""


def examine() -> list[Finding]:
    """Check Python, packages, processors, accelerators, memory, disk and the hub."""
    return [
        _python(),
        *_packages(),
        _cores(),
        *_accelerators(),
        *_engine(),
        _memory(),
        _disk(),
        _hub(),
        _sandbox(),
    ]


def _python() -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    return Finding(what="python", state="ok", found=f"{version} at {sys.executable}")


def _packages() -> list[Finding]:
    findings = []
    for text in metadata.requires("wmss") or []:
        requirement = Requirement(text)
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        findings.append(_package(requirement))
    return findings


def _package(requirement: Requirement) -> Finding:
    name = requirement.name
    try:
        version = metadata.version(name)
    except metadata.PackageNotFoundError:
        advice = f"pip install '{name}{requirement.specifier}'"
        return Finding(what=name, state="missing", found="not installed", advice=advice)
    # A local build (2.7.0+cu128, 2.8.0a0+nv) is judged by its number.
    number = re.match(r"[\d.]+", version)
    if number is None or not requirement.specifier.contains(
        number[0].rstrip("."), prereleases=True
    ):
        advice = f"pip install '{name}{requirement.specifier}'"
        return Finding(what=name, state="missing", found=version, advice=advice)
    return Finding(what=name, state="ok", found=version)


def _cores() -> Finding:
    return Finding(what="CPU cores", state="ok", found=str(len(os.sched_getaffinity(0))))


def _accelerators() -> list[Finding]:
    try:
        import torch
    except ImportError as error:
        return [
            Finding(
                what="torch",
                state="missing",
                found=f"does not import: {error}",
                advice="install a build of torch that fits this machine's driver",
            )
        ]
    if not torch.cuda.is_available():
        found = "none that torch sees"
        advice = "training real models needs a GPU node; on a CPU wmss runs in fp32"
        if shutil.which("nvidia-smi"):
            found = f"nvidia-smi is here, but torch {torch.__version__} sees no GPU"
            advice = "install a CUDA build of torch that fits the driver"
        return [Finding(what="GPUs", state="note", found=found, advice=advice)]
    names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    bf16 = torch.cuda.is_bf16_supported()
    return [
        Finding(what="GPUs", state="ok", found=", ".join(names)),
        Finding(
            what="bf16",
            state="ok" if bf16 else "note",
            found="supported" if bf16 else "not supported",
            advice="" if bf16 else "set precision: fp32 in every section",
        ),
    ]


def _engine() -> list[Finding]:
    """Say what ``eval.engine: auto`` means; if torch is missing, its own line says so."""
    try:
        import torch

        from wmss_cli.evaluate.engine_choice import choose
    except ImportError:
        return []
    # What vLLM prints while it is imported must not mix with the output.
    with redirect_stdout(sys.stderr):
        engine, why = choose("auto", torch.bfloat16)
    return [engine_finding(engine, f"{engine}, since {why}", torch.cuda.is_available())]


def engine_finding(engine: str, found: str, gpu: bool) -> Finding:
    """Return the line about ``eval.engine: auto``."""
    fast = engine == "vllm" or not gpu
    advice = "" if fast else "pip install 'wmss[vllm]' in the Python of evaluation"
    return Finding(
        what="eval.engine auto", state="ok" if fast else "note", found=found, advice=advice
    )


def _memory() -> Finding:
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return Finding(what="memory", state="ok", found=f"{total / _GIB:.0f} GiB")


def _disk() -> Finding:
    free_gib = shutil.disk_usage(Path.cwd()).free / _GIB
    little = free_gib < _LITTLE_DISK_GIB
    return Finding(
        what="disk here",
        state="note" if little else "ok",
        found=f"{free_gib:.0f} GiB free",
        advice="checkpoints of real models are large; set run_dir to a larger disk"
        if little
        else "",
    )


def _hub() -> Finding:
    offline = os.environ.get("HF_HUB_OFFLINE", "") not in ("", "0")
    return Finding(
        what="hub",
        state="note" if offline else "ok",
        found="off (HF_HUB_OFFLINE)" if offline else "asked for models that are not a folder",
        advice="give models and data as folders and files" if offline else "",
    )


def _sandbox() -> Finding:
    """Say in which sandbox programs of models run here, by running one."""
    try:
        level = find_level()
    except SandboxError as error:
        return Finding(what="sandbox", state="note", found="none", advice=str(error))
    if level == "bubblewrap":
        return Finding(what="sandbox", state="ok", found=level)
    advice = f"programs of models see more of this machine; {reaches('bubblewrap')}"
    return Finding(what="sandbox", state="note", found=f"{level} (degraded)", advice=advice)


def examine_model(reference: str, tokenize: TokenizeConfig, evaluate: EvalConfig) -> list[Finding]:
    """Check a model as a submission does, without torch.

    Parameters
    ----------
    reference : str
        A folder, an artifact, or a hub id that is in the local cache.
    tokenize, evaluate : Section
        The options that it is to be used with.
    """
    try:
        facts = examine_files(find_model(reference, download=False))
    except (ConfigError, IntegrityError) as error:
        return [_refused("model", error)]
    return [
        Finding(what="model", state="ok", found=str(facts.folder)),
        _weights(facts),
        _tokenizer(facts),
        _context(facts, tokenize, evaluate),
        *_prompts(facts, tokenize),
    ]


def _refused(what: str, error: Exception) -> Finding:
    """Say what is wrong, and what to do: the end of an error's line."""
    found, _, advice = str(error).rpartition("; ")
    return Finding(what=what, state="missing", found=found or advice, advice=advice)


def _weights(facts: ModelFacts) -> Finding:
    if not facts.parameters:
        return Finding(
            what="weights",
            state="note",
            found="no safetensors files, whose names and shapes could be read",
            advice="save it by save_pretrained; otherwise the first job compares the weights",
        )
    found = f"{facts.parameters:,} parameters, as config.json says"
    return Finding(what="weights", state="ok", found=found)


def _tokenizer(facts: ModelFacts) -> Finding:
    if facts.vocabulary is None:
        return Finding(
            what="tokenizer",
            state="note",
            found="no tokenizer.json, which would be read here",
            advice="save it by save_pretrained; otherwise the first job checks it",
        )
    largest = max(facts.vocabulary.get_vocab().values())
    found = f"ids up to {largest:,}, {facts.rows:,} rows of the embedding"
    return Finding(what="tokenizer", state="ok", found=found)


def _context(facts: ModelFacts, tokenize: TokenizeConfig, evaluate: EvalConfig) -> Finding:
    if facts.context is None:
        return Finding(what="context", state="ok", found="no limit in config.json")
    tokens = facts.context.tokens
    answer = evaluate.max_new_tokens or Task.model_fields["max_new_tokens"].default
    # A prompt has at least one token.
    asked = {"tokenize.max_seq_len": tokenize.max_seq_len, "eval.max_new_tokens": answer + 1}
    long = [name for name, longest in asked.items() if longest > tokens]
    return Finding(
        what="context",
        state="note" if long else "ok",
        found=f"{tokens:,} tokens ({facts.context.source})",
        advice=f"set {' and '.join(long)} lower" if long else "",
    )


def _prompts(facts: ModelFacts, tokenize: TokenizeConfig) -> list[Finding]:
    vocabulary = facts.vocabulary
    if vocabulary is None:
        return []
    renderer = Renderer(vocabulary, tokenize.system_prompt, tokenize.template_date)
    findings = [_asked("answers end at", lambda: _ends(facts, renderer, vocabulary))]
    if findings[0].state == "missing":
        return findings
    for token_id in facts.ignored_stops:
        findings.append(
            Finding(
                what=f"eos_token_id {token_id}",
                state="note",
                found=f"{facts.stops.source} names {vocabulary.token_of(token_id)!r}, an ordinary "
                "piece of text, which does not end an answer",
                advice="correct eos_token_id there if it should",
            )
        )
    if renderer.writes_today:
        found = f"the chat template writes today's date: always {renderer.date}"
        findings.append(
            Finding(
                what="template_date",
                state="note",
                found=found,
                advice="set tokenize.template_date and eval.template_date for another day",
            )
        )
    return findings


def _asked(what: str, ask: Callable[[], str]) -> Finding:
    try:
        return Finding(what=what, state="ok", found=ask())
    except ConfigError as error:
        return _refused(what, error)


def _ends(facts: ModelFacts, renderer: Renderer, vocabulary: Vocabulary) -> str:
    return ", ".join(
        f"{vocabulary.token_of(token_id)} ({token_id})"
        for token_id in check_prompts(facts, renderer)
    )
