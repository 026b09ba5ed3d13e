"""Starting stages: a worker process a rank, each given strings only."""
