"""Feed-forward layers of several experts, each for its own share of the tokens."""
