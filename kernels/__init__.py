"""Kernels: mathematics on tensors. `kernels.ops` is the only door."""
