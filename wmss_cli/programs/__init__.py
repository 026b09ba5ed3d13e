"""Is this program right? It is found in a completion and run against tests in a sandbox."""
