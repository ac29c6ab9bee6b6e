"""The qualification report (IQ and OQ) of an installation: JSON, and a page to print and sign."""
