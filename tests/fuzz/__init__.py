"""Fuzzers: broken files of every kind that c2t reads, each tried in a child process of its own.

`python tests/fuzz/run.py` runs them for minutes; `test_fuzz.py` runs a few cases of each.
"""
