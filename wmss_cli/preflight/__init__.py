"""Before anything is sent: what machine, cluster and model offer, and what a run will cost."""
