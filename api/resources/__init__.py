"""The resources: each parses, reads and wraps, and decides nothing else."""
