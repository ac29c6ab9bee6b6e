"""A whole INT8 encoder as one native call: its weights, its definition, and how it is run."""
