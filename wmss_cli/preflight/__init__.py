"""Before anything is sent: what machine, cluster and model have, and what a run will cost."""
