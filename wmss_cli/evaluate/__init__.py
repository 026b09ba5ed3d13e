"""Tasks, generation, statistics."""
