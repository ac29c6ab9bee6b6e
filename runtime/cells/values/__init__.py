"""What values are, and what was done to the counts that they come from."""
