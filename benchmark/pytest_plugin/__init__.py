"""sambench for a user's own tests: a fixture that measures a model, and options that fail a session on a regression."""
