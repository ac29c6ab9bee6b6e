"""The vocabulary of an encoder: its genes, and the tokens that are no genes."""

from __future__ import annotations

from dataclasses import dataclass

from c2t.runtime.bundle.gene_vocabulary import GeneVocabulary


@dataclass(frozen=True, kw_only=True, eq=False)
class EncoderVocabulary(GeneVocabulary):
    """The genes of a bundle, sorted by token, and the encoder's special gene tokens.

    Attributes:
        pad_token: Gene token of `<pad>`.
        mask_token: Gene token of `<mask>`.
        cls_token: Gene token of `<cls>`, None for V1 vocabularies.
        eos_token: Gene token of `<eos>`, None for V1 vocabularies.
    """

    pad_token: int
    mask_token: int
    cls_token: int | None
    eos_token: int | None

    def special_tokens(self) -> dict[str, int | None]:
        """The special gene tokens by their short names, as JSON can hold them."""
        return {
            "pad": self.pad_token,
            "mask": self.mask_token,
            "cls": self.cls_token,
            "eos": self.eos_token,
        }
