"""The CUDA sources run on the host: a device that compiles them as C++, and decoders for it."""
