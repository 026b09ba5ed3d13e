"""Whether a stage can work with its models, checked before it is queued and when it starts.

The same function answers for plans, commands, jobs and ``wmss doctor MODEL``, and needs no torch.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path

from wmss_cli.core.artifact import Job
from wmss_cli.core.config import EvalConfig, TokenizeConfig
from wmss_cli.core.errors import ConfigError
from wmss_cli.core.manifest import MANIFEST, read_manifest
from wmss_cli.core.tags import TAGS
from wmss_cli.data.chat import Renderer, Tokenizer
from wmss_cli.data.tokens import TokenTable
from wmss_cli.evaluate.problems import Problem, read_problems
from wmss_cli.evaluate.tasks import Task, read_tasks
from wmss_cli.models.consistency import (
    ModelFacts,
    check_apart,
    check_ids,
    check_length,
    examine,
)
from wmss_cli.stages import table as stages

_ROLES = {
    "tokenize": ("model",),
    "sft": ("strong", "reference"),
    "score_entropy": ("model",),
    "joint_train": ("strong", "weak"),
    "extrapolate": ("base", "strong"),
    "eval": ("model",),
    "analyze": ("model",),
}
"""The inputs of each stage that are models."""


def check_job(
    job: Job, tokenizer: Tokenizer | None = None, to_come: Collection[str] = ()
) -> list[str]:
    """Refuse models that a job cannot work with, and return notes for its log.

    Parameters
    ----------
    job : Job
        The job of a stage or of one of its shards. A model that an earlier job has yet to make is
        left out, and so are checks that need a tokenizer if a model has no ``tokenizer.json``.
    tokenizer : Tokenizer, optional
        The model's, if transformers has loaded it; otherwise its files are read.
    to_come : collection of str
        Folders that will be made, or made again, before the job reads them: their present content
        is not checked.

    Raises
    ------
    ConfigError
        If the files of a model do not fit each other (:func:`wmss_cli.models.consistency.examine`),
        a text would be longer than the model was made for, or the chat template loses a text.
    IntegrityError
        If a file of weights is cut short or damaged.
    """
    stage = stages.find(job.stage).name
    # Which shard it is does not matter here.
    options = {name: value for name, value in job.config.items() if name != "shard"}
    notes: list[str] = []
    inputs = {r: p for r, p in job.inputs.items() if not {p, str(Path(p).parent)} & {*to_come}}
    for role in _ROLES.get(stage, ()):
        folder = Path(inputs.get(role, ""))
        if role not in inputs or not (folder / "config.json").is_file():
            continue
        facts = examine(folder)
        notes += _notes(facts)
        own = tokenizer or facts.vocabulary
        if stage == "tokenize":
            _check_tokenize(facts, own, TokenizeConfig.model_validate(options))
        elif stage == "eval":
            _check_eval(facts, own, EvalConfig.model_validate(options), inputs)
        elif "tokens" in inputs:
            _check_table(facts, Path(inputs["tokens"]))
    return notes


def check_jobs(jobs: Iterable[Job], to_come: Collection[str] = ()) -> None:
    """Refuse jobs as :func:`check_job` does; equal questions are asked once."""
    asked: set[tuple[object, ...]] = set()
    for job in jobs:
        question = (job.stage, str(job.config), *sorted(job.inputs.items()))
        if question not in asked:
            asked.add(question)
            check_job(job, to_come=to_come)


def say_notes(notes: Iterable[str]) -> None:
    """Write lines to the log of a stage."""
    for note in notes:
        print(note, flush=True)  # noqa: T201


def check_prompts(facts: ModelFacts, renderer: Renderer) -> list[int]:
    """Check that texts survive the template and that its tokens are in the embedding.

    Returns
    -------
    list of int
        What ends an answer: the template's end of turn, the tokenizer's end of sequence, and what
        the model's files say.

    Raises
    ------
    ConfigError
        If not.
    """
    [frame] = renderer.prompt_ids(["x"])
    vocabulary = renderer.tokenizer.get_vocab()
    tags = [vocabulary[tag] for tag in TAGS if tag in vocabulary]
    ends = renderer.stop_token_ids
    check_ids(facts.folder, renderer.tokenizer, facts.rows, [*frame, *ends, *tags])
    heeded = facts.stops.heeded(renderer.tokenizer.added_tokens_decoder)
    return sorted({*ends, *heeded})


def _check_tokenize(facts: ModelFacts, tokenizer: Tokenizer | None, config: TokenizeConfig) -> None:
    what = f"tokenize.max_seq_len is {config.max_seq_len}; set it to that or less"
    check_length(facts.folder, facts.context, config.max_seq_len, what)
    check_apart(facts.folder, facts.context, config.max_seq_len, what)
    if tokenizer is not None:
        check_prompts(facts, Renderer(tokenizer, config.system_prompt, config.template_date))


def _check_eval(
    facts: ModelFacts, tokenizer: Tokenizer | None, config: EvalConfig, inputs: Mapping[str, str]
) -> None:
    renderer = None
    if tokenizer is not None:
        renderer = Renderer(tokenizer, config.system_prompt, config.template_date)
        check_prompts(facts, renderer)
    if facts.context is None:
        return
    for task, path in read_tasks(inputs):
        longest = config.max_new_tokens or task.max_new_tokens
        room = facts.context.tokens - longest
        said = f"an answer to {task.name} may have {longest:,}"
        # A prompt has at least one token.
        what = f"{said} after its prompt; set eval.max_new_tokens lower"
        check_length(facts.folder, facts.context, longest + 1, what)
        if renderer is None or not path.is_file():
            continue
        questions = [p.question for p in _problems(task, path, config)]
        prompt = max((len(ids) for ids in _long_prompts(renderer, questions, room)), default=0)
        advice = f"set eval.max_new_tokens to {facts.context.tokens - prompt} or less"
        if prompt >= facts.context.tokens:
            advice = "leave the problem out, or use a model that takes more"
        what = f"{said} after a prompt of {prompt:,}; {advice}"
        check_length(facts.folder, facts.context, prompt + longest, what)


def _problems(task: Task, path: Path, config: EvalConfig) -> list[Problem]:
    try:
        return read_problems(task, path, config.limit, config.prompt)
    except ConfigError:
        # The code that reads a file of problems reports what is wrong with it.
        return []


def _long_prompts(renderer: Renderer, questions: Iterable[str], room: int) -> Iterator[list[int]]:
    """Yield the prompts that may have more tokens than there is room for."""
    [frame] = renderer.prompt_ids([""])
    # No token is shorter than a byte, but a tokenizer may add tokens where texts meet.
    long = [text for text in questions if len(frame) + len(text.encode()) + 8 > room]
    yield from renderer.prompt_ids(long)


def _check_table(facts: ModelFacts, tokens: Path) -> None:
    # The code that reads the token table refuses anything else.
    if not (tokens / MANIFEST).is_file() or read_manifest(tokens).stage != "tokenize":
        return
    table = TokenTable(tokens)
    longest = int(table.lengths.max())
    what = f"{tokens} has a sample of {longest:,}; run tokenize with a lower max_seq_len"
    check_length(facts.folder, facts.context, longest, what)
    check_apart(facts.folder, facts.context, longest, what)
    if table.largest_token_id >= facts.rows:
        raise ConfigError(
            f"{facts.folder}: {tokens} has the token id {table.largest_token_id}, beyond the "
            f"{facts.rows:,} rows of the embedding; run tokenize with this model"
        )


def _notes(facts: ModelFacts) -> list[str]:
    ignored = facts.ignored_stops if facts.vocabulary is not None else []
    return [
        f"{facts.folder}: eos_token_id {token_id} of {facts.stops.source} does not end "
        "an answer, since it is not a token of its own in the tokenizer"
        for token_id in ignored
    ]
