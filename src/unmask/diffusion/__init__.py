"""Schedules, the absorbing process, and every loss and bound, shared by training and evaluation."""
