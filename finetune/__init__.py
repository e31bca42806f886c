"""Training: data, oracle labels, objectives and the command."""
