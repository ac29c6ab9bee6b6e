"""A byte-level BPE tokenizer in which a frequent gene symbol is one token.

One decision: words end at spaces, full stops, commas and colons only. Pythia's own tokenizer also
parts letters from digits, so that a gene is about four tokens; here most are one, which is what a
small model can afford. Special tokens have Pythia's names and ids.
"""

from collections.abc import Iterable

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

END_OF_TEXT = "<|endoftext|>"
PADDING = "<|padding|>"
WORD = r" ?[^\s.,:]+|[.,:]|\s"


def train_tokenizer(
    texts: Iterable[str], *, vocabulary_size: int, positions: int
) -> PreTrainedTokenizerFast:
    """Train the tokenizer.

    Args:
        texts: Gene sentences, prompts and answers.
        vocabulary_size: Upper limit; all 256 bytes are in, so that any text can be encoded.
        positions: The longest text that the model takes, in tokens.
    """
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(WORD), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary_size,
        special_tokens=[END_OF_TEXT, PADDING],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token=END_OF_TEXT,
        eos_token=END_OF_TEXT,
        unk_token=END_OF_TEXT,
        pad_token=PADDING,
        clean_up_tokenization_spaces=False,
        model_max_length=positions,
    )
