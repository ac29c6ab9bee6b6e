"""The commands `c2t calibrate` and `c2t evaluate`: options in, stages called, results shown."""
