"""Faults that the diagnosis is measured on: written apart from its checks, with their repairs and their harm."""
