"""Run the float32 graphs on cells, and collect the ranges of their linears' inputs."""
