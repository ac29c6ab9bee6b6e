"""The commands of the feature, one a file."""
