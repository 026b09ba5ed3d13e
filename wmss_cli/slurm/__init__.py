"""Jobs on a Slurm cluster: what is sent, and what happens to it."""
