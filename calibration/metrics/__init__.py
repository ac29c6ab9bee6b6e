"""Figures from texts and labels: accuracy, text overlap, ontology similarity, intervals."""
