"""Training of UNets on reference labels or pseudo labels."""
