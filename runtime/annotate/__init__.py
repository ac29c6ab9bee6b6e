"""Given labels compared for the cells of a file: labels in, calibrated probabilities into files."""
