"""The patterns signal."""
