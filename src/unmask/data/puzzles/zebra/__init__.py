"""Zebra puzzles: rules, generating, text."""
