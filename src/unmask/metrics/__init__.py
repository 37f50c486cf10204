"""Scores as pure functions, one a file. Functions return what a confidence interval needs: one number a text."""
