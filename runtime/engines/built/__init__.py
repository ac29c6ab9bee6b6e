"""What `c2t build` left beside a bundle: found, checked and opened."""
