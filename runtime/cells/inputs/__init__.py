"""How the counts of a cell become a model's input: one file for each kind."""
