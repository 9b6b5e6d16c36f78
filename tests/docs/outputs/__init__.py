"""Outputs shown in README.md and docs/: which block shows what of which command, made by `make docs-outputs`."""
