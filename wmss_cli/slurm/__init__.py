"""Jobs on a Slurm cluster: what is sent, what becomes of it."""
