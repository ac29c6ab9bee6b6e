"""What of a Cell2Sentence checkpoint is refused before its weights are read."""

from __future__ import annotations

from collections.abc import Sequence

from c2t.export.cell2sentence.outline import SentenceOutline
from c2t.export.checkpoint.check import check_generation, check_text_vocabulary
from c2t.export.checkpoint.text.tokenizer import encode
from c2t.export.decoders.families import decoder_family
from c2t.runtime.bundle.template import FixedIds, TextPart
from c2t.runtime.system.errors import CheckpointError


def check_sentences(outline: SentenceOutline) -> None:
    """Refuse settings that no text could be written with, and a tokenizer of another model.

    Raises:
        CheckpointError: Names the number or the token, and the option that changes it.
    """
    check_generation(outline.settings.generation)
    ids: list[int] = []
    for part in outline.template:
        if isinstance(part, FixedIds):
            ids += part.ids
        elif isinstance(part, TextPart):
            ids += encode(outline.tokenizer, part.text)
    check_text_vocabulary(
        outline.tokenizer,
        int(outline.decoder.vocab_size),
        ends=outline.settings.generation.eos_token_ids,
        folder="--model",
        others=[("the prompt has", ids, "--model")],
    )
    _check_room(outline, outline.typical_prompt, f"about {outline.typical_prompt}")


def check_prompts(outline: SentenceOutline, prompts: Sequence[Sequence[int]]) -> None:
    """Refuse a context that the prompts of real cells do not fit.

    Raises:
        CheckpointError: Names the numbers.
    """
    longest = max(map(len, prompts))
    _check_room(outline, longest, str(longest))


def _check_room(outline: SentenceOutline, prompt: int, said: str) -> None:
    positions = decoder_family(outline.decoder.model_type).max_positions(outline.decoder)
    new_tokens = outline.settings.generation.max_new_tokens
    if prompt + new_tokens > positions:
        problem = (
            f"the decoder has {positions} positions, but {said} are needed for a prompt of "
            f"{outline.sentence.genes} genes, and {new_tokens} for new tokens"
        )
        raise CheckpointError(problem, hint="pass smaller --top-genes or --max-new-tokens")
