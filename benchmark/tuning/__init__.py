"""The fastest configuration that is right: what could be deployed, what holds the gate, and who wins in pairs."""
