"""Load and overhead of the service, with all doors open."""
