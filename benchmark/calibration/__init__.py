"""What this machine can show: its noise floor, its false verdicts, and the smallest change that it finds."""
