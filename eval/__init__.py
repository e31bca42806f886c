"""Evaluation: ROUGE against baselines. Import as `from eval.rouge import …`."""
