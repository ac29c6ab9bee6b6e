"""How sure a model may be taken to be: its confidence against labels, and what is fitted to it."""
