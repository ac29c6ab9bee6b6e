"""Other ways to bring `(start, stop) → records` to many machines than Dask."""
