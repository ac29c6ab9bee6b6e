from dataclasses import replace

import pytest
from tiny_models import CHAT_TEMPLATE, SYSTEM_MESSAGE, tiny_settings, tiny_tokenizer

from c2t.export.checkpoint.text.prompt import render_prompt
from c2t.runtime.system.errors import CheckpointError

SETTINGS = tiny_settings()
GUARDED = """\
{%- if not date_string is defined -%}
{%- if strftime_now is defined -%}{%- set date_string = strftime_now("%d %b %Y") -%}
{%- else -%}{%- set date_string = "26 Jul 2024" -%}{%- endif -%}
{%- endif -%}
{%- for m in messages -%}{{ m["role"] + ": " + date_string + " " + m["content"] }}{%- endfor -%}
"""


@pytest.fixture
def tokenizer():
    """A tokenizer whose template may be changed."""
    tokenizer = tiny_tokenizer().__class__(tokenizer_object=tiny_tokenizer().backend_tokenizer)
    tokenizer.bos_token = "<|begin_of_text|>"
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def text(tokenizer, prompt, count=3):
    ids = (*prompt.prefix_ids, *[prompt.placeholder_id] * count, *prompt.suffix_ids)
    return tokenizer.decode(ids)


def test_prompt_is_the_template_with_the_fallback_date(tokenizer):
    prompt = render_prompt(tokenizer, SETTINGS)
    assert prompt.date == "26 Jul 2024"
    assert prompt.placeholder_id == tokenizer.convert_tokens_to_ids("<|reserved_special_token_1|>")
    holders = "<|reserved_special_token_1|>" * 3
    assert text(tokenizer, prompt) == (
        "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nToday Date: 26 Jul 2024"
        f"\n\n{SYSTEM_MESSAGE}<|eot_id|><|start_header_id|>user<|end_header_id|>\n\n"
        f"Gene expression embeddings: {holders}<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n"
    )


@pytest.mark.parametrize("count", [1, 7, 256])
def test_ids_are_those_of_the_rendered_text(tokenizer, count):
    """What the reference does: render with that many placeholders, then tokenize."""
    prompt = render_prompt(tokenizer, SETTINGS)
    user = SETTINGS.user_message + SETTINGS.placeholder_token * count
    expected = tokenizer.apply_chat_template(
        [{"role": "system", "content": SYSTEM_MESSAGE}, {"role": "user", "content": user}],
        add_generation_prompt=True,
        date_string="26 Jul 2024",
    )
    ids = [*prompt.prefix_ids, *[prompt.placeholder_id] * count, *prompt.suffix_ids]
    assert ids == expected


def test_the_clock_is_never_read(tokenizer):
    tokenizer.chat_template = GUARDED
    assert render_prompt(tokenizer, SETTINGS).date == "26 Jul 2024"
    tokenizer.chat_template = '{{ strftime_now("%Y") }}' + CHAT_TEMPLATE
    with pytest.raises(CheckpointError, match="strftime_now"):
        render_prompt(tokenizer, SETTINGS)
    dated = render_prompt(tokenizer, replace(SETTINGS, date="1 May 2025"))
    assert text(tokenizer, dated).startswith("1 May 2025")


@pytest.mark.parametrize("template", [CHAT_TEMPLATE, GUARDED])
def test_pinned_date(tokenizer, template):
    tokenizer.chat_template = template
    prompt = render_prompt(tokenizer, replace(SETTINGS, date="01 Feb 2025"))
    assert prompt.date == "01 Feb 2025"
    assert "01 Feb 2025" in text(tokenizer, prompt)
    assert "26 Jul 2024" not in text(tokenizer, prompt)


def test_template_without_a_date(tokenizer):
    tokenizer.chat_template = (
        '{%- for m in messages -%}{{ m["role"] + ": " + m["content"] + "\\n" }}{%- endfor -%}'
    )
    assert render_prompt(tokenizer, SETTINGS).date is None
    with pytest.raises(CheckpointError, match="writes no date"):
        render_prompt(tokenizer, replace(SETTINGS, date="01 Feb 2025"))


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"system_message": " "}, "no system message"),
        ({"placeholder_token": "<|not there|>"}, "no token '<|not there|>'"),
        ({"system_message": "a <|reserved_special_token_1|>"}, "2 placeholder tokens"),
    ],
)
def test_unusable_settings(tokenizer, changes, match):
    with pytest.raises(CheckpointError) as caught:
        render_prompt(tokenizer, replace(SETTINGS, **changes))
    assert match in str(caught.value)


def test_no_chat_template(tokenizer):
    tokenizer.chat_template = None
    with pytest.raises(CheckpointError, match="no chat template"):
        render_prompt(tokenizer, SETTINGS)


def test_placeholders_that_merge_with_each_other_are_refused(tokenizer):
    """An ordinary token may join with its neighbours: ids would depend on the number."""
    with pytest.raises(CheckpointError, match=r"placeholder tokens|depend on the number"):
        render_prompt(tokenizer, replace(SETTINGS, placeholder_token="l"))


def test_other_placeholder_and_user_message(tokenizer):
    changed = replace(
        SETTINGS, placeholder_token="<|reserved_special_token_0|>", user_message="Cell: "
    )
    prompt = render_prompt(tokenizer, changed)
    assert "Cell: <|reserved_special_token_0|>" in text(tokenizer, prompt)
    assert prompt.user_message == "Cell: "
