"""A bundle's graphs on ONNX Runtime's CPU provider."""
