"""Signatures over the files of a folder: OpenSSF Model Signing v1, with one's own key."""
