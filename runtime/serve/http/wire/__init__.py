"""What every request passes: the guard, the limits, and the forms of answers."""
