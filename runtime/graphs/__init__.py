"""Graph files and their forms for backends: the only room of the runtime that loads onnx."""
