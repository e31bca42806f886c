"""A run on a machine with a GPU, a limit of time and no network: `python -m finetune.gpu`."""
