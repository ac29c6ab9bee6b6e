"""The door for HTTP: routes, errors, streams, limits, metrics, and the page."""
