"""The door for a parent process: JSON-RPC over standard input and output, or a Unix socket."""
