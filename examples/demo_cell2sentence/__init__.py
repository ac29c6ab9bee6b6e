"""The second demonstration: a small model of Cell2Sentence's shape, trained here, and its card."""
