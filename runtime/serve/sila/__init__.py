"""The door for SiLA 2."""
