"""Joining and leaving a host database."""
