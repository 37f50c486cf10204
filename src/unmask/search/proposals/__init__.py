"""Sources of new texts, one a file."""
