"""Cross-entropy of targets together with the layer that makes their logits."""
