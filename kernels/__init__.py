"""The computations of our own: each as a NumPy definition, as native code, as CUDA.

One folder for each operator: `definition.py` says what is computed, slowly; `cpu.py` runs the
fastest implementation of this processor, `cuda.py` launches the kernels of a GPU.
"""
