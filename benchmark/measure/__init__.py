"""Turns, clocks, statistics and the environment."""
