"""A dense layer whose modules share one projection: the part that larger operations have."""
