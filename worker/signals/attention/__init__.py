"""The attention signal."""
