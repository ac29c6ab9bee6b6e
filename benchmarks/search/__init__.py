"""Whether words find cells: the search demonstration on cells that training never saw."""
