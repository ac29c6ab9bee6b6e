"""The engine room: one open model, the queue before it, and what doors say to it."""
