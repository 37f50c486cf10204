"""Scores of a whole model on data: bounds, use of the latent, generation under a judge, and their page."""
