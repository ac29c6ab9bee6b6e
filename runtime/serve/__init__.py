"""The service: one open model, and the doors through which programs reach it."""
