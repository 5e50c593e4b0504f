"""The cost signal."""
