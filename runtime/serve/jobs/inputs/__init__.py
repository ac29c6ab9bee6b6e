"""How cells come into a job: sent, read where they lie, or counted in the request."""
