"""The prompt as text tokens: the tokenizer's chat template, rendered once, with a pinned date.

One decision: the template never sees a clock. Llama 3.2's own template writes today's date into the
system header when the renderer offers `strftime_now`, and the prompt would change every day.
"""

import re

from transformers import PreTrainedTokenizerBase

from c2t.export.checkpoint.text.chat_template import Message, render_templates
from c2t.export.checkpoint.text.tokenizer import encode
from c2t.export.model.loaded_checkpoint import CheckpointSettings
from c2t.runtime.bundle.manifest import Prompt
from c2t.runtime.system.errors import CheckpointError

# Ids around the placeholders must not depend on how many there are: checked with these counts.
_COUNTS = (1, 2, 5)
_DATE_MARK = "\ue000date\ue000"  # private-use characters that no template contains


def render_prompt(tokenizer: PreTrainedTokenizerBase, settings: CheckpointSettings) -> Prompt:
    """Render the chat template and find the run of placeholders.

    Args:
        tokenizer: Text tokenizer with a chat template.
        settings: Messages, placeholder token, and the date as the template would write it
            (Llama 3.2: "26 Jul 2024"); None takes what the template falls back to.

    Raises:
        CheckpointError: No system message, no template, one that leaves a message out, an unknown
            placeholder token, or a prompt whose ids around the placeholders vary with their number.
    """
    if not settings.system_message.strip():
        problem = "the checkpoint carries no system message"
        raise CheckpointError(
            problem,
            hint="pass the exact sentence of the training run with --system-message or "
            "--system-message-file; a wrong one silently ruins the output (see `c2t help export`)",
        )
    if not tokenizer.chat_template:
        problem = "the decoder's tokenizer has no chat template"
        raise CheckpointError(
            problem,
            hint="use the folder of the Instruct model; a base model, like Pythia, has none: pass "
            "that of the training run, --chat-template FILE",
        )
    placeholder_id = _placeholder_id(tokenizer, settings.placeholder_token)
    prompts = _Prompts(tokenizer, settings)
    date, template_date = _find_date(prompts, settings.date)
    _check_messages(prompts.text(1, template_date), settings)
    parts = {
        count: _split(prompts.ids(count, template_date), placeholder_id, count) for count in _COUNTS
    }
    if len(set(parts.values())) != 1:
        problem = "the prompt's token ids depend on the number of placeholders"
        raise CheckpointError(
            problem,
            hint=f"{settings.placeholder_token!r} must be a special token, not joined with others",
        )
    prefix, suffix = parts[_COUNTS[0]]
    return Prompt(
        prefix_ids=prefix,
        suffix_ids=suffix,
        placeholder_id=placeholder_id,
        system_message=settings.system_message,
        user_message=settings.user_message,
        date=date,
    )


def _placeholder_id(tokenizer: PreTrainedTokenizerBase, token: str) -> int:
    ids = encode(tokenizer, token)
    if len(ids) != 1:
        problem = f"the tokenizer has no token {token!r} for the placeholders"
        raise CheckpointError(
            problem, hint="pass that of the training run: --placeholder-token TOKEN"
        )
    return ids[0]


class _Prompts:
    """The prompts that a template makes of the messages, rendered at once.

    Args:
        tokenizer: With a chat template.
        settings: Messages and date.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, settings: CheckpointSettings) -> None:
        dates = dict.fromkeys((settings.date, None))
        jobs = [(count, date) for date in dates for count in _COUNTS] + [(1, _DATE_MARK)]
        rendered = render_templates(
            tokenizer, [(_messages(settings, count), date) for count, date in jobs]
        )
        self._tokenizer = tokenizer
        self._rendered = dict(zip(jobs, rendered, strict=True))

    def text(self, count: int, date: str | None) -> str:
        """The prompt with so many placeholders."""
        text, error = self._rendered[count, date]
        if text is None:
            problem = f"the chat template cannot be rendered: {error}"
            hint = "take another one: --chat-template NAME or FILE"
            if "strftime_now" in error or "date_string" in error:
                hint = "it insists on a date: pass the date to write, --date"
            elif "role" in error.lower():  # Gemma's and Mistral's own take no system message
                hint = (
                    "it may take no system message: pass the template of the training run, which "
                    "says where that message stands: --chat-template FILE"
                )
            raise CheckpointError(problem, hint=hint)
        return text

    def ids(self, count: int, date: str | None) -> list[int]:
        """The same as text tokens."""
        return encode(self._tokenizer, self.text(count, date))


def _messages(settings: CheckpointSettings, count: int) -> list[Message]:
    user = settings.user_message + settings.placeholder_token * count
    return [
        {"role": "system", "content": settings.system_message},
        {"role": "user", "content": user},
    ]


def _check_messages(prompt: str, settings: CheckpointSettings) -> None:
    """Refuse a template that leaves a message out; it may change the spaces of one."""
    shown = " ".join(prompt.split())
    for role, message in (("system", settings.system_message), ("user", settings.user_message)):
        if " ".join(message.split()) not in shown:
            problem = f"the chat template leaves out the {role} message, {message!r}"
            raise CheckpointError(
                problem,
                hint="take the template of the training run: --chat-template NAME or FILE",
            )


def _find_date(prompts: _Prompts, stated: str | None) -> tuple[str | None, str | None]:
    """The date that the prompt shows, and the date to give the template; None: no date."""
    marked = prompts.text(1, _DATE_MARK)
    if _DATE_MARK not in marked:
        if stated is not None:
            problem = f"the chat template writes no date, but {stated!r} was asked for"
            raise CheckpointError(problem, hint="leave the date out")
        return None, None
    if stated is not None:
        return stated, stated
    first, second, *others = map(re.escape, marked.split(_DATE_MARK))
    pattern = rf"{first}(.*?){second}" + "".join(rf"\1{text}" for text in others)
    match = re.fullmatch(pattern, prompts.text(1, None), re.DOTALL)
    if match is None:
        problem = "cannot tell which date the chat template falls back to"
        raise CheckpointError(problem, hint="pass the date to write")
    return match[1], None


def _split(
    ids: list[int], placeholder_id: int, count: int
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    places = [place for place, token in enumerate(ids) if token == placeholder_id]
    if len(places) != count or places[-1] - places[0] != count - 1:
        problem = (
            f"the rendered prompt has {len(places)} placeholder tokens in positions {places}, "
            f"expected {count} in a row"
        )
        raise CheckpointError(problem, hint="the messages must not contain the placeholder token")
    return tuple(ids[: places[0]]), tuple(ids[places[-1] + 1 :])
