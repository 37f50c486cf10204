"""Boards: solving, generating, symmetries, human strategies, text."""
