"""The `activity` command, and the composition root of every process."""
