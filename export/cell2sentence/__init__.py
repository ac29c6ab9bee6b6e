"""Cell2Sentence: a decoder that reads a cell as a sentence of gene names; no encoder, no projector."""
