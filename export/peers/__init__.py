"""Other programs that `c2t bench` measures beside c2t."""
