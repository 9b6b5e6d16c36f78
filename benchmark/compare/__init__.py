"""Run against run: what changed, by how much, with what certainty, and whether that is a regression."""
