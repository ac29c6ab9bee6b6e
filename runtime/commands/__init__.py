"""The commands that need no training library: describe, build, bench, info, doctor."""
