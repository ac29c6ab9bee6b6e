"""A small trained model, how it was made, and what it says about 700 blood cells."""
