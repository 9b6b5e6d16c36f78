"""Which backends, devices and precisions really work here, and what to install where one does not."""
