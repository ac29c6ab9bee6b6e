"""What happens to the texts of a greedy search between its steps."""
