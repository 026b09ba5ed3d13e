"""Find a program in a completion, and run it against tests in a sandbox."""
