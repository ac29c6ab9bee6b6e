"""The benchmark: what a bundle takes here, as a share of what the machine can do, beside peers."""
