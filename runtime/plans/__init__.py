"""TensorRT plans of a bundle: built for a GPU, kept beside the bundle, and opened with checks."""
