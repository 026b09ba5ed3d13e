"""Is this answer right? It is found in a completion and compared with a reference."""
