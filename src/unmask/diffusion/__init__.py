"""Schedules, the absorbing process, and every loss and bound. Training and evaluation share them, so they cannot drift."""
