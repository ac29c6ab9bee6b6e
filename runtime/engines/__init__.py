"""Engines that run a bundle's graphs: which, on what, and with which library."""
