"""Run the float32 graphs on cells, and collect what their products see."""
