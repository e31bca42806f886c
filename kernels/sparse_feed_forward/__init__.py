"""Feed-forward of which a controller keeps one unit in each block."""
