"""A decoder alone, which reads cells as gene names: Cell2Sentence, Cell-o1, CellReasoner."""
