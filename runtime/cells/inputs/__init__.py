"""How a cell's counts become a model's input; today gene tokens by rank value."""
