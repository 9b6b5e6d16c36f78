"""The pages keep up with the program, and what they show was printed by it."""
