"""What is built of a bundle for a GPU: kept beside the bundle, and opened with checks."""
