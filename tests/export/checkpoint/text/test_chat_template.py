"""A chat template is chosen by name, may leave nothing out, and runs within limits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tiny_models import CHAT_TEMPLATE, tiny_settings, tiny_tokenizer

from c2t.export.checkpoint.text import chat_template
from c2t.export.checkpoint.text.prompt import render_prompt
from c2t.export.checkpoint.text.tokenizer import load_tokenizer
from c2t.runtime.system.errors import CheckpointError

SETTINGS = tiny_settings()
ENDLESS = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
GREEDY = "{% set n = namespace(s='xxxxxxxx') %}{% for i in range(40) %}{% set n.s = n.s + n.s %}"


def with_template(template: str) -> Any:
    tokenizer = tiny_tokenizer().__class__(
        tokenizer_object=tiny_tokenizer().backend_tokenizer, bos_token="<|begin_of_text|>"
    )
    tokenizer.chat_template = template
    return tokenizer


@pytest.mark.parametrize(
    ("template", "match"),
    [
        (ENDLESS, "takes more than"),
        (GREEDY + "{% endfor %}" + CHAT_TEMPLATE, "too much memory|takes more than"),
        ("{% for i in range(99999) %}{{ 'x' * 999 }}{% endfor %}", "takes more than"),
        ("{{ 1 / 0 }}", "division by zero"),
        ("{{ raise_exception('no system role') }}", "no system role"),
        ("{{ messages[9].role }}", "undefined|no element"),
    ],
)
def test_a_template_that_fails(template: str, match: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat_template, "CPU_SECONDS", 1)
    with pytest.raises(CheckpointError, match=match) as caught:
        render_prompt(with_template(template), SETTINGS)
    assert "--chat-template" in caught.value.hint


@pytest.mark.slow
def test_without_fork_a_new_process_renders_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """What Windows does: the very function, on this system."""
    messages = [{"role": "system", "content": "a"}, {"role": "user", "content": "é"}]
    jobs = [(messages, "26 Jul 2024"), (messages, None)]
    tokenizer = with_template(CHAT_TEMPLATE)
    here = chat_template.render_templates(tokenizer, jobs)
    assert "é" in str(here[0][0])
    assert chat_template._in_new_process(tokenizer, jobs) == here
    with pytest.raises(CheckpointError, match="takes more than"):
        chat_template._in_new_process(with_template(ENDLESS), jobs)
    monkeypatch.setattr(chat_template, "WALL_SECONDS", 0.1)
    with pytest.raises(CheckpointError, match="takes more than"):
        chat_template._in_new_process(tokenizer, jobs)


@pytest.mark.parametrize("role", ["system", "user"])
def test_a_template_that_drops_a_message(role: str) -> None:
    loop = f'{{%- for message in messages if message["role"] != "{role}" -%}}'
    template = CHAT_TEMPLATE.replace("{%- for message in messages -%}", loop)
    with pytest.raises(CheckpointError, match=f"leaves out the {role} message|cannot tell"):
        render_prompt(with_template(template.replace("Today Date: ", "")), SETTINGS)


def save(folder: Path, templates: str | dict[str, str]) -> Path:
    tokenizer = with_template("x")
    tokenizer.chat_template = templates
    tokenizer.save_pretrained(folder)
    return folder


def test_named_templates(tmp_path: Path) -> None:
    folder = save(tmp_path / "named", {"rag": CHAT_TEMPLATE, "tool_use": "x"})
    with pytest.raises(CheckpointError, match=r"without a default: .*rag") as caught:
        load_tokenizer(folder)
    assert "--chat-template" in caught.value.hint
    tokenizer, _ = load_tokenizer(folder, chat_template="rag")
    assert render_prompt(tokenizer, SETTINGS).prefix_ids
    with pytest.raises(CheckpointError, match="no chat template 'other'"):
        load_tokenizer(folder, chat_template="other")


def test_the_default_of_named_templates(tmp_path: Path) -> None:
    folder = save(tmp_path / "named", {"default": CHAT_TEMPLATE, "tool_use": "x"})
    assert load_tokenizer(folder)[0].chat_template == CHAT_TEMPLATE


def test_a_template_from_a_file(tmp_path: Path) -> None:
    folder = save(tmp_path / "plain", "x")
    file = tmp_path / "own.jinja"
    file.write_text(CHAT_TEMPLATE)
    assert load_tokenizer(folder, chat_template=str(file))[0].chat_template == CHAT_TEMPLATE
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(CheckpointError, match=r"own\.jinja"):
        load_tokenizer(folder, chat_template=str(file))
