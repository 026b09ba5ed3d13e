"""The processes of a stage on this machine: one worker for each rank, given strings only."""
