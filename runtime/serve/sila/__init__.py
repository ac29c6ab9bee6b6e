"""The door for SiLA 2: observable commands, results for who listens late, TLS, bounded uploads."""
