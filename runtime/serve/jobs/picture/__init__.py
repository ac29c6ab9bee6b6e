"""What a page draws of a job: a place for each cell, and columns to colour it by."""
