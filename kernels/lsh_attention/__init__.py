"""Shared query-key attention within hash buckets."""
