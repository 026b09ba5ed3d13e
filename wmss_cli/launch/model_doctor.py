"""What ``wmss doctor MODEL`` says: whether a model's files fit each other, and its use."""

from __future__ import annotations

from collections.abc import Callable

from wmss_cli.core.config import EvalConfig, TokenizeConfig
from wmss_cli.core.errors import ConfigError, IntegrityError
from wmss_cli.data.chat import Renderer
from wmss_cli.evaluate.tasks import Task
from wmss_cli.launch.doctor import Finding
from wmss_cli.models.folder import find_model
from wmss_cli.models.preflight import ModelFacts, examine
from wmss_cli.models.vocabulary import Vocabulary
from wmss_cli.stages.model_checks import check_prompts


def examine_model(reference: str, tokenize: TokenizeConfig, evaluate: EvalConfig) -> list[Finding]:
    """Look at a model as a submission does, without torch.

    Parameters
    ----------
    reference : str
        A folder, an artifact, or a hub id that is in the local cache.
    tokenize, evaluate : Section
        What it is to be used with.
    """
    try:
        facts = examine(find_model(reference, download=False))
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
    """Say what is wrong, and what to do: the last part of an error's line."""
    found, _, advice = str(error).rpartition("; ")
    return Finding(what=what, state="missing", found=found or advice, advice=advice)


def _weights(facts: ModelFacts) -> Finding:
    if not facts.parameters:
        return Finding(
            what="weights",
            state="note",
            found="no safetensors files, whose names and shapes could be read",
            advice="save the model by save_pretrained; else its first job compares the weights",
        )
    found = f"{facts.parameters:,} parameters, as config.json says"
    return Finding(what="weights", state="ok", found=found)


def _tokenizer(facts: ModelFacts) -> Finding:
    if facts.vocabulary is None:
        return Finding(
            what="tokenizer",
            state="note",
            found="no tokenizer.json, which is read here",
            advice="save it by save_pretrained; else the first job looks at it",
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
                "piece of text, which ends no answer",
                advice="correct eos_token_id there if it is to end one",
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
