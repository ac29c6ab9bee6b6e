"""Reports of a calibration or evaluation: JSON, tables and pages."""
