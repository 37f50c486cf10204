"""Verifiers of what was written, one a file."""
