"""Cell2Sentence: a decoder alone, which reads a cell as a sentence of gene names."""
