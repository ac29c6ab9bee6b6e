"""Commands without a training library: describe, verify, sign, audit, build, bench, doctor."""
