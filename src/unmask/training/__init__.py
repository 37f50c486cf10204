"""Training on the Hugging Face Trainer: arguments, recipes, EMA, atomic checkpoints, loss by mask ratio."""
