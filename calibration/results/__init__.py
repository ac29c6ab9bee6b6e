"""What a calibration or evaluation found: the contents of the JSON files that it leaves."""
