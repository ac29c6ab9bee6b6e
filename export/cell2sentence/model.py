"""A decoder that reads a prompt of text tokens, in PyTorch: what graphs are compared with."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from c2t.export.model.model import generation_config
from c2t.runtime.bundle.manifest import Generation


class SentenceModel(nn.Module):
    """A causal language model as transformers has it.

    Args:
        decoder: In evaluation mode, float32.
    """

    def __init__(self, decoder: PreTrainedModel) -> None:
        super().__init__()
        self.decoder = decoder

    def rows(self, token_ids: Tensor) -> Tensor:
        """Input rows [T, D] of text tokens [T]."""
        rows: Tensor = self.decoder.get_input_embeddings()(token_ids)
        return rows

    @torch.no_grad()
    def generate(
        self,
        token_ids: Tensor,
        generation: Generation,
        *,
        tokenizer: PreTrainedTokenizerBase | None = None,
    ) -> list[int]:
        """The text that Hugging Face `generate` writes behind a prompt.

        Args:
            token_ids: [T] int64, the whole prompt.
            generation: Limits, beams and end tokens.
            tokenizer: Must be given where there are stop strings.

        Returns:
            The new text tokens exactly as `generate` gives them: the end token is kept.
        """
        tokens: Tensor = self.decoder.generate(
            input_ids=token_ids[None],
            attention_mask=torch.ones(1, len(token_ids), dtype=torch.long),
            generation_config=generation_config(generation),
            use_model_defaults=False,
            tokenizer=tokenizer,
        )
        return [int(token) for token in tokens[0, len(token_ids) :]]
