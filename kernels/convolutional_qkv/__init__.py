"""Queries, keys and values by convolutions over the modules of one multiplicative layer."""
