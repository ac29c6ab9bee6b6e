"""Messages with fields become one text, by the chat template of a model's folder."""

from __future__ import annotations

from transformers import PreTrainedTokenizerBase

from c2t.export.cell2sentence.published import Turns
from c2t.export.checkpoint.text.chat_template import render_templates
from c2t.runtime.system.errors import CheckpointError

# Any system message and any question: how published questions are put to a chat.
ANY_CHAT = Turns(system="{instruction}", user="{question}")
_HINT = (
    "pass the template of the training run: --chat-template FILE, or the whole prompt: --template"
)


def chat_text(tokenizer: PreTrainedTokenizerBase, turns: Turns) -> str:
    """The prompt up to where the model's answer begins, with the fields of the messages.

    Raises:
        CheckpointError: There is no chat template, or one that leaves a message out or changes it.
    """
    if not tokenizer.chat_template:
        problem = "the model's tokenizer has no chat template, which its prompt is made with"
        raise CheckpointError(problem, hint=_HINT)
    messages = [
        {"role": "system", "content": turns.system},
        {"role": "user", "content": turns.user},
    ]
    ((text, error),) = render_templates(tokenizer, [(messages, None)])
    if text is None:
        problem = f"the chat template cannot be rendered: {error}"
        raise CheckpointError(problem, hint=_HINT)
    for role, message in (("system", turns.system), ("user", turns.user)):
        if message not in text:
            problem = f"the chat template leaves out the {role} message, or changes it"
            raise CheckpointError(problem, hint=_HINT)
    if turns.removed:
        text = text.replace(turns.removed, "")
    return text + turns.begins


def any_chat(tokenizer: PreTrainedTokenizerBase) -> str | None:
    """The text of any chat; None for a model that is not asked so."""
    try:
        return chat_text(tokenizer, ANY_CHAT)
    except CheckpointError:  # a base model, or a template without a system message
        return None
