"""Cell2Text in PyTorch: the definition that every exported graph is checked against.

One decision: it is defined for one cell without padding (batch rows, where allowed, have equal
lengths), because the output of a padded batch would depend on its neighbours.
"""

import torch
from torch import Tensor, nn
from transformers import (
    GenerationConfig,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from c2t.export.model.projector import Projector, ProjectorConfig
from c2t.runtime.bundle.manifest import Generation, Prompt
from c2t.runtime.system.errors import CheckpointError


class Cell2TextModel(nn.Module):
    """An encoder, a projector and a decoder, each of any family that can be exported.

    Args:
        encoder: Only its embeddings and the layers that `emb_layer` makes needed are used.
        projector: Its hidden sizes must be those of encoder and decoder.
        decoder: A causal language model.
        emb_layer: Which hidden state the projector sees, counted from the last: -1 is the output
            of the second to last layer, 0 that of the last.
        top_k: Encoder rows that the projector sees, if its family limits them.

    Attributes:
        layers_run: Encoder layers that are needed.

    Raises:
        CheckpointError: The hidden sizes differ, or there is no such hidden state.
    """

    def __init__(
        self,
        encoder: PreTrainedModel,
        projector: Projector,
        decoder: PreTrainedModel,
        *,
        emb_layer: int = -1,
        top_k: int = 256,
    ) -> None:
        super().__init__()
        check_fit(encoder.config, projector.config, decoder.config)
        self.encoder = encoder
        self.projector = projector
        self.decoder = decoder
        self.emb_layer = emb_layer
        self.layers_run = layers_needed(int(encoder.config.num_hidden_layers), emb_layer)
        self.top_k = top_k

    @property
    def rows(self) -> int | None:
        """Encoder rows that the projector sees at most; None: all."""
        if self.projector.takes_cells:
            return 1
        return self.top_k if self.projector.takes_top_k else None

    @property
    def mean_of(self) -> slice | None:
        """The rows whose mean is the only row that the projector sees; None: no mean is taken."""
        return self.projector.mean_of()

    def encode(self, gene_tokens: Tensor) -> Tensor:
        """Encode one cell.

        Args:
            gene_tokens: [S] int64, or [B, S] for cells of one length.

        Returns:
            `hidden_states[layers + emb_layer]`, cut to `rows`, or the mean of `mean_of`: [K, H] or
            [B, K, H].
        """
        batch = gene_tokens if gene_tokens.dim() == 2 else gene_tokens[None]
        # The LM head would cost more than all layers together; the base model stops before it.
        states = self.encoder.base_model(
            input_ids=batch, attention_mask=torch.ones_like(batch), output_hidden_states=True
        ).hidden_states
        hidden: Tensor = states[self.layers_run]
        if self.mean_of is not None:
            hidden = hidden[:, self.mean_of].mean(dim=1, keepdim=True)
        hidden = hidden[:, : self.rows]
        return hidden if gene_tokens.dim() == 2 else hidden[0]

    def project(self, hidden: Tensor) -> Tensor:
        """Project encoder rows [K, H] or [B, K, H] to cell vectors [K', D] or [B, K', D]."""
        if hidden.dim() == 3:
            return self.projector(hidden)
        return self.projector(hidden[None])[0]

    def prompt_embeddings(self, cell_vectors: Tensor, prompt: Prompt) -> Tensor:
        """Lay out the decoder's input: token rows of the prompt around the cell vectors.

        Args:
            cell_vectors: [K', D] or [B, K', D].
            prompt: Text tokens around the run of placeholders.

        Returns:
            [T, D] or [B, T, D] with T = prefix + K' + suffix.
        """
        batch = cell_vectors if cell_vectors.dim() == 3 else cell_vectors[None]
        ids = (*prompt.prefix_ids, *(prompt.placeholder_id,) * batch.shape[1], *prompt.suffix_ids)
        rows = self.decoder.get_input_embeddings()(torch.tensor(ids, device=batch.device))
        first = len(prompt.prefix_ids)
        last = first + batch.shape[1]
        before, after = (
            part.expand(batch.shape[0], -1, -1) for part in (rows[:first], rows[last:])
        )
        embeddings = torch.cat((before, batch.to(rows.dtype), after), dim=1)
        return embeddings if cell_vectors.dim() == 3 else embeddings[0]

    def forward(self, gene_tokens: Tensor, caption_ids: Tensor, prompt: Prompt) -> Tensor:
        """Logits that predict each caption token, and the one after the last.

        Args:
            gene_tokens: [B, S] int64, cells of one length.
            caption_ids: [B, C] int64 text tokens; padding on the right changes no earlier logit.
            prompt: Text tokens around the run of placeholders.

        Returns:
            [B, C+1, V]: row c scores the caption's token c.
        """
        front = self.prompt_embeddings(self.project(self.encode(gene_tokens)), prompt)
        captions = self.decoder.get_input_embeddings()(caption_ids)
        embeddings = torch.cat((front, captions.to(front.dtype)), dim=1)
        logits: Tensor = self.decoder(
            inputs_embeds=embeddings,
            attention_mask=torch.ones(embeddings.shape[:2], dtype=torch.long, device=front.device),
            use_cache=False,
            logits_to_keep=caption_ids.shape[1] + 1,
        ).logits
        return logits

    @torch.no_grad()
    def generate(
        self,
        gene_tokens: Tensor,
        prompt: Prompt,
        generation: Generation,
        *,
        tokenizer: PreTrainedTokenizerBase | None = None,
    ) -> list[int]:
        """Describe one cell with Hugging Face `generate`.

        Args:
            gene_tokens: [S] int64.
            prompt: Text tokens around the run of placeholders.
            generation: Limits, beams and end tokens.
            tokenizer: Must be given where there are stop strings.

        Returns:
            The new text tokens exactly as `generate` gives them: the end token is kept.
        """
        embeddings = self.prompt_embeddings(self.project(self.encode(gene_tokens)), prompt)[None]
        tokens: Tensor = self.decoder.generate(
            inputs_embeds=embeddings,
            attention_mask=torch.ones(embeddings.shape[:2], dtype=torch.long),
            generation_config=generation_config(generation),
            # Defaults that ship with a Llama (temperature, top_p) must not leak in.
            use_model_defaults=False,
            tokenizer=tokenizer,
        )
        return [int(token) for token in tokens[0]]


def check_fit(
    encoder: PretrainedConfig, projector: ProjectorConfig, decoder: PretrainedConfig
) -> None:
    """Refuse a projector between other hidden sizes than those of encoder and decoder.

    Raises:
        CheckpointError: Names the sizes.
    """
    widths = (encoder.hidden_size, decoder.hidden_size)
    if widths != (projector.input_width, projector.output_width):
        problem = (
            f"the projector maps width {projector.input_width} to {projector.output_width}, but "
            f"the encoder is {widths[0]} and the decoder {widths[1]} wide"
        )
        raise CheckpointError(problem, hint="check that all parts are of one training run")


def layers_needed(layers: int, emb_layer: int) -> int:
    """Return how many layers the hidden state `hidden_states[layers + emb_layer]` needs.

    Args:
        layers: Layers of the checkpoint, L.
        emb_layer: -1 is the second to last layer's output, 0 the last one's, -L the embeddings.

    Raises:
        CheckpointError: `emb_layer` points outside the L + 1 hidden states.
    """
    if not -layers <= emb_layer <= 0:
        problem = f"emb_layer is {emb_layer}; an encoder of {layers} layers has -{layers} to 0"
        raise CheckpointError(problem, hint="-1, the second to last layer, is the usual choice")
    return layers + emb_layer


def generation_config(generation: Generation) -> GenerationConfig:
    """The same settings for Hugging Face `generate`, without drawing.

    With stop strings, `generate` wants the tokenizer as well.
    """
    end = list(generation.eos_token_ids)
    beams: dict[str, float | bool | str] = {}
    if generation.num_beams > 1:  # `generate` warns about beam settings without beams
        beams = {
            "early_stopping": generation.early_stopping,
            "length_penalty": generation.length_penalty,
        }
    return GenerationConfig(
        max_new_tokens=generation.max_new_tokens,
        num_beams=generation.num_beams,
        no_repeat_ngram_size=generation.no_repeat_ngram_size,
        repetition_penalty=float(generation.repetition_penalty),
        stop_strings=list(generation.stop_strings) or None,
        do_sample=False,
        eos_token_id=end or None,
        # Never emitted for a batch of one, but `generate` wants one to be named.
        pad_token_id=end[0] if end else 0,
        bos_token_id=None,
        **beams,
    )
