"""Tasks and generation."""
