"""The prompt as text tokens: the tokenizer's chat template, rendered once, with a pinned date.

One decision: the template never sees a clock. Llama 3.2's own template writes today's date into the
system header when the renderer offers `strftime_now`, and the prompt would change every day.
"""

import re
from collections.abc import Callable

import jinja2
from transformers import PreTrainedTokenizerBase

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
        CheckpointError: No system message, no template, an unknown placeholder token, or a prompt
            whose ids around the placeholders vary with their number.
    """
    if not settings.system_message.strip():
        problem = "the checkpoint carries no system message"
        raise CheckpointError(
            problem,
            hint="pass the exact sentence of the training run, as text or as a file; "
            "a wrong one silently ruins the output",
        )
    if not tokenizer.chat_template:
        problem = "the decoder's tokenizer has no chat template"
        raise CheckpointError(problem, hint="use the folder of the Instruct model")
    placeholder_id = _placeholder_id(tokenizer, settings.placeholder_token)
    date, template_date = _find_date(tokenizer, settings)
    parts = {
        count: _split(_encode(tokenizer, settings, count, template_date), placeholder_id, count)
        for count in _COUNTS
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
    ids = tokenizer(token, add_special_tokens=False)["input_ids"]
    if len(ids) != 1:
        problem = f"the tokenizer has no token {token!r} for the placeholders"
        raise CheckpointError(problem, hint="pass the placeholder token of the training run")
    return int(ids[0])


def _find_date(
    tokenizer: PreTrainedTokenizerBase, settings: CheckpointSettings
) -> tuple[str | None, str | None]:
    """The date that the prompt shows, and the date to give the template; None: no date."""
    marked = _render(tokenizer, settings, 1, _DATE_MARK)
    if _DATE_MARK not in marked:
        if settings.date is not None:
            problem = f"the chat template writes no date, but {settings.date!r} was asked for"
            raise CheckpointError(problem, hint="leave the date out")
        return None, None
    if settings.date is not None:
        return settings.date, settings.date
    first, second, *others = map(re.escape, marked.split(_DATE_MARK))
    pattern = rf"{first}(.*?){second}" + "".join(rf"\1{text}" for text in others)
    match = re.fullmatch(pattern, _render(tokenizer, settings, 1, None), re.DOTALL)
    if match is None:
        problem = "cannot tell which date the chat template falls back to"
        raise CheckpointError(problem, hint="pass the date to write")
    return match[1], None


def _encode(
    tokenizer: PreTrainedTokenizerBase, settings: CheckpointSettings, count: int, date: str | None
) -> list[int]:
    text = _render(tokenizer, settings, count, date)
    return [int(token) for token in tokenizer(text, add_special_tokens=False)["input_ids"]]


def _render(
    tokenizer: PreTrainedTokenizerBase, settings: CheckpointSettings, count: int, date: str | None
) -> str:
    user = settings.user_message + settings.placeholder_token * count
    clock: Callable[[str], str] | jinja2.Undefined = jinja2.Undefined(name="strftime_now")
    written: str | jinja2.Undefined = jinja2.Undefined(name="date_string")
    if date is not None:
        pinned = date
        written = pinned

        def clock(_: str) -> str:
            return pinned

    try:
        rendered: str = tokenizer.apply_chat_template(
            [
                {"role": "system", "content": settings.system_message},
                {"role": "user", "content": user},
            ],
            tokenize=False,
            add_generation_prompt=True,
            # Template variables: an undefined one hides the clock that the renderer would offer.
            strftime_now=clock,
            date_string=written,
        )
    except (jinja2.TemplateError, TypeError) as error:
        problem = f"the chat template cannot be rendered: {error}"
        raise CheckpointError(
            problem, hint="if it insists on a date, pass the date to write"
        ) from error
    return rendered


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
