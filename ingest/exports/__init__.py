"""Exports of other tools, read as spans."""
