"""Find an answer in a completion, and compare it with a reference."""
