"""Graph files and their variants for backends; imports onnx."""
