"""Runs that were accepted, one after another: where they are kept, and what they say of the trend."""
