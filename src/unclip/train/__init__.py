"""Training: one loop for every stage. A task owns its batch and its loss, nothing else."""
