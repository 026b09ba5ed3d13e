"""Chat templates, rendered the same everywhere and on every day, without transformers.

This renders as ``apply_chat_template`` of transformers does, except for the date: what a template
writes as today's date comes from the configuration.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any

import jinja2
from jinja2 import TemplateError, TemplateSyntaxError, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from wmss_cli.core.errors import ConfigError

_TODAY = "strftime_now"
_CHANCE = {"random", "lipsum"}
"""Filters and functions of jinja whose results differ each time."""

# For models without a chat template; saved with the tokenizer, so that it travels with the model.
PLAIN_TEMPLATE = (
    "{%- for message in messages -%}"
    "{%- if message.role == 'system' -%}{{ message.content + '\\n\\n' }}"
    "{%- elif message.role == 'user' -%}{{ 'User: ' + message.content + '\\n\\n' }}"
    "{%- else -%}{{ 'Assistant:\\n' + message.content + eos_token }}{%- endif -%}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ 'Assistant:\\n' }}{%- endif -%}"
)

Message = Mapping[str, Any]


class _Generation(Extension):
    """``{% generation %}`` marks what the assistant writes; it adds nothing to the text."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Parser) -> nodes.Node | list[nodes.Node]:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.Scope(body, lineno=line)


class _Namespace(jinja2.utils.Namespace):
    """A template's own variables; names with an underscore would reach Python's internals."""

    def __setitem__(self, name: str, value: Any) -> None:
        if name.startswith("_"):
            raise TemplateError(f"a namespace cannot have the attribute {name!r}")
        super().__setitem__(name, value)


def _raise(message: str) -> None:
    raise TemplateError(message)


def _tojson(value: Any, ensure_ascii: bool = False, **options: Any) -> str:
    # jinja's own filter escapes HTML.
    return json.dumps(value, ensure_ascii=ensure_ascii, **options)


@lru_cache
def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols]
    )
    environment.filters["tojson"] = _tojson
    environment.globals["raise_exception"] = _raise
    environment.globals["namespace"] = _Namespace
    return environment


class ChatTemplate:
    """A model's chat template.

    Parameters
    ----------
    source : str
        Jinja source.
    tokens : mapping of str to str
        What a template may use of the tokenizer: ``bos_token``, ``eos_token`` and the like.
    date : str
        Today's date for the template, as ``2024-07-26``.

    Raises
    ------
    ConfigError
        If it is not valid jinja, or writes something else each time.
    """

    def __init__(self, source: str, tokens: Mapping[str, str], date: str) -> None:
        self._tokens = dict(tokens)
        self._today = datetime.fromisoformat(date)
        try:
            tree = _environment().parse(source)
            self._compiled = _environment().from_string(source)
        except TemplateSyntaxError as error:
            raise ConfigError(
                f"the model's chat template is not valid (line {error.lineno}: {error.message}); "
                "copy it from the model again"
            ) from None
        names = {node.name for node in tree.find_all(nodes.Name)}
        names |= {node.name for node in tree.find_all(nodes.Filter)}
        chance = sorted(names & _CHANCE)
        if chance:
            raise ConfigError(
                f"the model's chat template uses {chance[0]}, which writes something else each "
                "time; take that out of the template"
            )
        self.writes_today = _TODAY in names
        """Whether the template uses today's date."""

    def render(self, messages: Sequence[Message], add_generation_prompt: bool) -> str:
        """Return the text of a conversation.

        Parameters
        ----------
        messages : sequence of mapping
            Each with `role` and `content`.
        add_generation_prompt : bool
            Whether an answer should follow.

        Raises
        ------
        TemplateError
            If the template refuses the messages.
        """
        try:
            return self._compiled.render(
                messages=[dict(message) for message in messages],
                tools=None,
                documents=None,
                add_generation_prompt=add_generation_prompt,
                **{_TODAY: self._strftime, **self._tokens},
            )
        except (TypeError, ValueError, AttributeError, KeyError, IndexError) as error:
            # The template expects another type of content.
            raise TemplateError(f"{type(error).__name__}: {error}") from None

    def _strftime(self, form: str) -> str:
        return self._today.strftime(form)


def default_of(template: str | Mapping[str, str] | Sequence[Message] | None) -> str | None:
    """Return the template for plain conversations, if a model has several by name.

    Raises
    ------
    ConfigError
        If it has several and none is called default.
    """
    if template is None or isinstance(template, str):
        return template or None
    if isinstance(template, Mapping):
        named = dict(template)
    else:
        named = {str(one["name"]): str(one["template"]) for one in template}
    if not named:
        return None
    if "default" not in named:
        raise ConfigError(
            f"the model has chat templates for {', '.join(sorted(named))} and none called "
            "default; name one of them default"
        )
    return named["default"]
