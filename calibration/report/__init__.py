"""Reports of a calibration or evaluation: JSON files, a text table, and HTML pages with charts."""
