"""A byte-level BPE tokenizer trained on the captions, with a chat template in Llama 3's layout.

One decision: the template writes a date like Llama 3.2's does (today's where the renderer offers a
clock, a fixed one where not), so that the demo exercises the pinning of the date at export.
"""

from collections.abc import Iterable

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from c2t.export.model.loaded_checkpoint import PLACEHOLDER_TOKEN

BEGIN = "<|begin_of_text|>"
END_OF_TURN = "<|eot_id|>"
PAD = "<|finetune_right_pad_id|>"
SPECIAL_TOKENS = (
    BEGIN,
    "<|end_of_text|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    END_OF_TURN,
    PLACEHOLDER_TOKEN,
    PAD,
)
FIXED_DATE = "01 Jan 2026"

CHAT_TEMPLATE = (
    "{{- bos_token }}"
    "{%- if date_string is not defined %}"
    "{%- if strftime_now is defined %}{%- set date_string = strftime_now('%d %b %Y') %}"
    "{%- else %}{%- set date_string = '" + FIXED_DATE + "' %}{%- endif %}"
    "{%- endif %}"
    "{%- for message in messages %}"
    "{{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n' }}"
    "{%- if message['role'] == 'system' %}{{- 'Today Date: ' + date_string + '\\n' }}{%- endif %}"
    "{{- message['content'] + '<|eot_id|>' }}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}"
    "{{- '<|start_header_id|>assistant<|end_header_id|>\\n' }}"
    "{%- endif %}"
)


def train_tokenizer(texts: Iterable[str], *, vocabulary_size: int) -> PreTrainedTokenizerFast:
    """Train the tokenizer.

    Args:
        texts: Captions and prompt texts.
        vocabulary_size: Upper limit; all 256 bytes are in, so that any text can be encoded.

    Returns:
        The tokenizer with its special tokens and chat template.
    """
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary_size,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(texts, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token=BEGIN,
        eos_token=END_OF_TURN,
        pad_token=PAD,
        clean_up_tokenization_spaces=False,
        model_input_names=["input_ids", "attention_mask"],
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer
