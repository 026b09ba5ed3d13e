"""The processes of a stage on this machine: a worker process a rank, each given strings only."""
