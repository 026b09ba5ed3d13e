"""Chat templates: as transformers renders them, and the same on every day."""

from __future__ import annotations

from pathlib import Path

import pytest
from jinja2 import TemplateError
from tiny import END, make_tiny_tokenizer

from wmss_cli.core.errors import ConfigError
from wmss_cli.models.template import PLAIN_TEMPLATE, ChatTemplate, default_of
from wmss_cli.models.tokenizer import load_tokenizer
from wmss_cli.models.vocabulary import Vocabulary

MESSAGES = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Is 2 < 3 & 'x' \"é\"?\n{{ 1 + 1 }}"},
    {"role": "assistant", "content": "<think>a</think>\nyes"},
]
TEMPLATES = {
    "plain": PLAIN_TEMPLATE,
    "chatml": (
        "{% for message in messages %}\n"
        "    {{ '<|im_start|>' + message['role'] + '\\n' + message['content'] | trim }}\n"
        "{% endfor %}\n"
    ),
    "namespace": (
        "{%- set ns = namespace(last=-1, found=false) %}"
        "{%- for m in messages[::-1] %}{%- if m.role == 'user' and not ns.found %}"
        "{%- set ns.found = true %}{%- set ns.last = messages|length - 1 - loop.index0 %}"
        "{%- endif %}{%- endfor %}{{ ns.last }}"
        "{%- for m in messages %}{{ m.content.split('</think>')[-1].lstrip('\\n') }}{%- endfor %}"
    ),
    "loop controls": (
        "{% for m in messages %}{% if m.role == 'system' %}{% continue %}{% endif %}"
        "{{ m | tojson(indent=2) }}{% break %}{% endfor %}{{ bos_token }}{{ tools is none }}"
    ),
    "generation": (
        "{% for m in messages %}{% if m.role == 'assistant' %}{% generation %}"
        "{{ m.content }}{{ eos_token }}{% endgeneration %}{% else %}{{ m.content }}{% endif %}"
        "{% endfor %}"
    ),
    "macro": (
        "{%- macro show(m) -%}[{{ m.role }}|{{ m.content }}]{%- endmacro -%}"
        "{%- for m in messages %}{{ show(m) }}{% endfor %}{{ dict(a=1).a }}"
    ),
}
DATED = (
    "{%- if not date_string is defined %}{%- if strftime_now is defined %}"
    "{%- set date_string = strftime_now('%d %b %Y') %}{%- else %}"
    "{%- set date_string = '26 Jul 2024' %}{%- endif %}{%- endif %}"
    "Today Date: {{ date_string }}|{% for m in messages %}{{ m.content }}{% endfor %}"
)


@pytest.mark.parametrize("name", TEMPLATES)
@pytest.mark.parametrize("prompted", [False, True])
def test_renders_as_transformers_does(name: str, prompted: bool) -> None:
    tokenizer = make_tiny_tokenizer()
    tokenizer.add_special_tokens({"bos_token": "<s>"})
    tokenizer.chat_template = TEMPLATES[name]
    said = MESSAGES[:-1] if prompted else MESSAGES
    wanted = tokenizer.apply_chat_template(said, tokenize=False, add_generation_prompt=prompted)
    template = ChatTemplate(TEMPLATES[name], tokenizer.special_tokens_map, "2024-07-26")
    assert template.render(said, prompted) == wanted
    assert not template.writes_today


def test_today_is_the_date_that_is_given() -> None:
    first, second = (ChatTemplate(DATED, {}, day) for day in ("2024-07-26", "2026-01-31"))
    assert first.render(MESSAGES[1:2], True).startswith("Today Date: 26 Jul 2024|Is 2")
    assert second.render(MESSAGES[1:2], True).startswith("Today Date: 31 Jan 2026|Is 2")
    assert first.writes_today


@pytest.mark.parametrize("source", ["{{ [1, 2, 3] | random }}", "{{ lipsum(n=1) }}"])
def test_a_template_that_plays_dice_is_refused(source: str) -> None:
    with pytest.raises(ConfigError, match="writes something else each time"):
        ChatTemplate(source, {}, "2024-07-26")


def test_what_is_no_template_is_refused_in_a_line() -> None:
    with pytest.raises(ConfigError, match=r"not valid \(line 2: .*copy it") as caught:
        ChatTemplate("{% for m in messages %}\n{{ m.content }", {}, "2024-07-26")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "source",
    [
        "{{ raise_exception('no') }}",
        "{{ messages[0].content + 1 }}",
        "{{ messages[0].nothing.at_all }}",
        "{{ ''.__class__.__mro__ }}",
        "{% set ns = namespace() %}{% set ns.__class__ = 1 %}",
    ],
)
def test_what_a_template_does_wrong_is_its_error(source: str) -> None:
    with pytest.raises(TemplateError):
        ChatTemplate(source, {}, "2024-07-26").render(MESSAGES, True)


def test_of_several_templates_the_default_one_is_taken() -> None:
    assert default_of({"default": "a", "tool_use": "b"}) == "a"
    assert default_of([{"name": "default", "template": "a"}]) == "a"
    assert default_of("a") == "a"
    assert default_of(None) is default_of("") is default_of({}) is None
    with pytest.raises(ConfigError, match="for rag, tool_use and none called default"):
        default_of({"tool_use": "b", "rag": "c"})


# Read without transformers.


@pytest.mark.parametrize("bos", [False, True])
@pytest.mark.parametrize("template", [None, TEMPLATES["chatml"], {"default": "a", "tools": "b"}])
def test_a_vocabulary_says_what_transformers_says(
    tmp_path: Path, bos: bool, template: str | dict[str, str] | None
) -> None:
    saved = make_tiny_tokenizer()
    saved.add_tokens(["<note>"])
    saved.add_special_tokens({"additional_special_tokens": ["<|x|>"]})
    if bos:
        saved.add_special_tokens({"bos_token": "<s>"})
    saved.chat_template = template
    saved.save_pretrained(tmp_path)
    wanted, found = load_tokenizer(tmp_path), Vocabulary(tmp_path)
    texts = ["Tom has 4 apples.", f"a<|x|>b {END}<note>", "", "<s> é"]
    for split in (False, True):
        options = {"add_special_tokens": False, "split_special_tokens": split}
        assert found(texts, **options) == {"input_ids": wanted(texts, **options)["input_ids"]}
    assert found.eos_token_id == wanted.eos_token_id
    assert default_of(found.chat_template) == default_of(wanted.chat_template)
    names = {i: (t.content, t.special) for i, t in found.added_tokens_decoder.items()}
    assert names == {i: (t.content, t.special) for i, t in wanted.added_tokens_decoder.items()}
    assert found.special_tokens_map["eos_token"] == END
    assert found.get_vocab() == wanted.get_vocab()
