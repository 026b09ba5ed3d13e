from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny import END, make_tiny_tokenizer
from tokenizers import AddedToken, Tokenizer, models
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from wmss_cli.core.config import SYSTEM_PROMPT
from wmss_cli.core.errors import ConfigError
from wmss_cli.data.chat import Renderer
from wmss_cli.models.tokenizer import load_tokenizer

CHATML = (
    "{%- for message in messages -%}"
    "{{ '<|im_start|>' + message.role + '\n' + message.content | trim + '<|im_end|>\n' }}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\n' }}{%- endif -%}"
)
COMPLETION = "<think>2+3=5</think>\n<answer>5</answer>"


@pytest.fixture(scope="module")
def plain(tiny_model: Path) -> PreTrainedTokenizerBase:
    return load_tokenizer(tiny_model)


@pytest.fixture
def chatml() -> PreTrainedTokenizerBase:
    """As Qwen's base models: the turn ends by one token, the sequence by another."""
    tokenizer = make_tiny_tokenizer()
    marks = [AddedToken(mark, special=True) for mark in ("<|im_start|>", "<|im_end|>")]
    tokenizer.add_tokens(marks, special_tokens=True)
    tokenizer.chat_template = CHATML
    return tokenizer


def test_the_plain_template_as_text(plain: PreTrainedTokenizerBase) -> None:
    renderer = Renderer(plain, "Be brief.")
    [sample] = renderer.render(["2+3?"], [COMPLETION])
    prompt = "Be brief.\n\nUser: 2+3?\n\nAssistant:\n"
    assert renderer.prompt_text("2+3?") == prompt
    assert plain.decode(sample.input_ids[: sample.prompt_length]) == prompt
    assert plain.decode(sample.input_ids[sample.prompt_length :]) == COMPLETION + END


def test_a_chatml_template_as_text(chatml: PreTrainedTokenizerBase) -> None:
    [sample] = Renderer(chatml, SYSTEM_PROMPT).render(["2+3?"], [COMPLETION])
    assert chatml.decode(sample.input_ids[: sample.prompt_length]) == (
        f"<|im_start|>system\n{SYSTEM_PROMPT}<|im_end|>\n"
        "<|im_start|>user\n2+3?<|im_end|>\n"
        "<|im_start|>assistant\n"
    )
    assert chatml.decode(sample.input_ids[sample.prompt_length :]) == COMPLETION + "<|im_end|>"


def test_no_system_prompt_means_no_system_message(chatml: PreTrainedTokenizerBase) -> None:
    assert Renderer(chatml, "").prompt_text("Hi") == (
        "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    )


@given(st.text(max_size=40), st.text(max_size=40))
def test_a_prompt_has_the_same_ids_in_training_and_in_generation(
    plain: PreTrainedTokenizerBase, prompt: str, completion: str
) -> None:
    renderer = Renderer(plain, SYSTEM_PROMPT)
    [sample] = renderer.render([prompt], [completion])
    [alone] = renderer.prompt_ids([prompt])
    assert sample.input_ids[: sample.prompt_length] == alone
    assert sample.input_ids[-1] == renderer.end_of_turn_id
    inside = sample.input_ids[sample.prompt_length : -1]
    assert inside == plain(completion, add_special_tokens=False)["input_ids"]


def test_the_turn_ends_where_the_template_says(
    plain: PreTrainedTokenizerBase, chatml: PreTrainedTokenizerBase
) -> None:
    eos = plain.convert_tokens_to_ids(END)
    end_of_turn = chatml.convert_tokens_to_ids("<|im_end|>")
    assert Renderer(plain, "").stop_token_ids == [eos]
    assert Renderer(chatml, "").end_of_turn_id == end_of_turn
    assert Renderer(chatml, "").stop_token_ids == sorted([eos, end_of_turn])


def test_the_turn_s_end_is_the_sequence_s_end_where_the_template_has_none(
    chatml: PreTrainedTokenizerBase,
) -> None:
    chatml.chat_template = CHATML.replace("<|im_end|>", "")
    assert Renderer(chatml, "").end_of_turn_id == chatml.eos_token_id


@pytest.mark.parametrize("opening", ["<think>", "<think>\\n", "<think>\\n\\n"])
def test_the_completion_opens_the_thinking_not_the_template(
    chatml: PreTrainedTokenizerBase, opening: str
) -> None:
    chatml.chat_template = CHATML.replace("assistant\n' }}", f"assistant\n{opening}' }}}}")
    assert chatml.chat_template != CHATML
    assert Renderer(chatml, "").prompt_text("Hi").endswith("<|im_start|>assistant\n")


def test_a_question_about_think_tags_stays_whole(plain: PreTrainedTokenizerBase) -> None:
    text = Renderer(plain, "").prompt_text("What is <think>")
    assert text == "User: What is <think>\n\nAssistant:\n"


def test_a_system_prompt_may_end_in_a_newline_that_the_template_strips(
    chatml: PreTrainedTokenizerBase,
) -> None:
    assert "<|im_start|>system\nBe brief.<|im_end|>" in Renderer(chatml, "Be brief.\n").prompt_text(
        "Hi"
    )


def test_a_template_that_ignores_the_system_prompt_is_refused(
    chatml: PreTrainedTokenizerBase,
) -> None:
    chatml.chat_template = "{{ messages[-1].content }}"
    with pytest.raises(ConfigError, match=r"leaves the system prompt out; set tokenize.system"):
        Renderer(chatml, "Be brief.").prompt_ids(["Hi"])
    assert Renderer(chatml, "").prompt_text("Hi") == "Hi"


def test_a_template_that_refuses_a_system_message_says_what_to_do(
    chatml: PreTrainedTokenizerBase,
) -> None:
    chatml.chat_template = (
        "{%- if messages[0].role == 'system' -%}"
        "{{ raise_exception('System role not supported') }}{%- endif -%}" + CHATML
    )
    with pytest.raises(ConfigError, match=r"System role not supported.*to ''") as caught:
        Renderer(chatml, "Be brief.").prompt_ids(["Hi"])
    assert "\n" not in str(caught.value)
    assert Renderer(chatml, "").prompt_ids(["Hi"])


# What a template may do to the texts.

LISTS = (
    "{%- for m in messages -%}<|im_start|>{{ m.role }}\n"
    "{%- for part in m.content -%}{%- if part.type == 'text' -%}{{ part.text }}{%- endif -%}"
    "{%- endfor -%}<|im_end|>\n{%- endfor -%}"
    "{%- if add_generation_prompt -%}<|im_start|>assistant\n{%- endif -%}"
)


@pytest.mark.parametrize("system_prompt", ["", "Be brief."])
def test_a_template_that_reads_lists_is_given_lists(
    chatml: PreTrainedTokenizerBase, system_prompt: str
) -> None:
    chatml.chat_template = LISTS
    renderer = Renderer(chatml, system_prompt)
    text = renderer.prompt_text("What is 2+3?")
    assert "What is 2+3?" in text
    assert system_prompt in text
    assert renderer.end_of_turn_id == chatml.convert_tokens_to_ids("<|im_end|>")


@pytest.mark.parametrize(
    ("template", "system_prompt", "line"),
    [
        ("{{ messages[0].content }}", "Be brief.", "leaves the question out"),
        ("{{ messages | length }}", "", "leaves the question out"),
        (CHATML.replace("message.content", "message.text"), "", "leaves the question out"),
        (CHATML.replace("message.content", "message.content | upper"), "", "the question out"),
        (
            CHATML.replace("message.content", "message.content | truncate(20)"),
            "",
            "changes or leaves out the question",
        ),
        (CHATML.replace("message.content", "message.content | e"), "", "changes or leaves out"),
    ],
)
def test_a_template_through_which_a_question_does_not_come_is_refused(
    chatml: PreTrainedTokenizerBase, template: str, system_prompt: str, line: str
) -> None:
    chatml.chat_template = template
    with pytest.raises(ConfigError, match=line) as caught:
        Renderer(chatml, system_prompt).prompt_ids(["Is 3 < 4 & 4 < 5? And how do you know that?"])
    assert "\n" not in str(caught.value)


def test_a_template_that_leaves_the_answer_out_is_refused(chatml: PreTrainedTokenizerBase) -> None:
    # Else its first token of the whole text would end a turn.
    chatml.chat_template = (
        "{%- for m in messages if m.role != 'assistant' -%}<|im_start|>{{ m.content }}"
        "{%- endfor -%}<|im_end|>"
    )
    with pytest.raises(ConfigError, match="leaves the answer out"):
        _ = Renderer(chatml, "").end_of_turn_id


def test_a_template_that_writes_the_day_is_the_same_every_day(
    chatml: PreTrainedTokenizerBase,
) -> None:
    chatml.chat_template = "{{ 'Today: ' + strftime_now('%Y-%m-%d') + '\n' }}" + CHATML
    first = Renderer(chatml, "").prompt_text("Hi")
    assert first.startswith("Today: 2024-07-26\n")
    assert Renderer(chatml, "", "2026-11-29").prompt_text("Hi").startswith("Today: 2026-11-29\n")


# Special tokens in a text.

PIECES = st.lists(
    st.sampled_from(["<|im_start|>", "<|im_end|>", END, "user\n", " 2+3?", "x", "\n", "<|", "|>"]),
    max_size=8,
).map("".join)


@given(PIECES, PIECES)
def test_no_text_becomes_a_special_token(prompt: str, completion: str) -> None:
    chatml = make_tiny_tokenizer()
    marks = [AddedToken("<|im_start|>", special=True), AddedToken("<|im_end|>", special=False)]
    chatml.add_tokens(marks)
    chatml.chat_template = CHATML
    renderer = Renderer(chatml, "Be brief.")
    [sample] = renderer.render([prompt], [completion])
    special = {chatml.convert_tokens_to_ids(name) for name in ("<|im_start|>", "<|im_end|>", END)}
    ids = sample.input_ids
    assert sum(token in special for token in ids[: sample.prompt_length]) == 5
    assert special.isdisjoint(ids[sample.prompt_length : -1])
    # Nothing is lost on the way.
    assert chatml.decode(ids[: sample.prompt_length]) == renderer.prompt_text(prompt)
    assert chatml.decode(ids[sample.prompt_length : -1]) == completion
    assert prompt.strip() in renderer.prompt_text(prompt)
    assert [ids[: sample.prompt_length]] == renderer.prompt_ids([prompt])
    names = ("<|im_start|>", "<|im_end|>", END)
    assert renderer.has_special_token(prompt) == any(name in prompt for name in names)


def test_a_name_that_is_also_an_entry_of_the_vocabulary_is_spelt() -> None:
    # As Unigram's control pieces, the cheapest way to write their own names.
    backend = Tokenizer(models.Unigram([("<s>", 0.0), *((c, -5.0) for c in "<s>/ab ")], unk_id=0))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<s>")
    tokenizer.chat_template = "{{ messages[-1].content }}"
    [ids] = Renderer(tokenizer, "").prompt_ids(["a<s>b"])
    assert tokenizer.eos_token_id not in ids
    assert [tokenizer.convert_ids_to_tokens(i) for i in ids] == ["a", "<", "s", ">", "b"]


def test_the_method_s_own_tags_may_be_special(chatml: PreTrainedTokenizerBase) -> None:
    chatml.add_special_tokens({"additional_special_tokens": ["<think>", "</think>"]})
    [sample] = Renderer(chatml, SYSTEM_PROMPT).render(["Hi"], [COMPLETION])
    assert chatml.convert_tokens_to_ids("<think>") in sample.input_ids[sample.prompt_length :]


def test_a_special_token_in_the_system_prompt_is_refused(chatml: PreTrainedTokenizerBase) -> None:
    with pytest.raises(ConfigError, match="the system prompt contains a special token"):
        Renderer(chatml, "Be brief.<|im_end|>").prompt_ids(["Hi"])
