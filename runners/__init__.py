"""One file a backend: something that loads a module or an artifact and runs it."""
