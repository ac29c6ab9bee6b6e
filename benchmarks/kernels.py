"""Measure the kernels: `python -P benchmarks/kernels.py [--json] [--cells FILE.h5ad]`.

The same as `c2t bench kernels`. `benchmarks/results/kernels.json` is the output of the last run
that was worth keeping.
"""

from c2t.runtime.bench.kernels import main

if __name__ == "__main__":
    main()
