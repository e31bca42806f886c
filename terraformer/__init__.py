"""Terraformer: long scientific documents summarized by a sparse, reversible transformer."""
