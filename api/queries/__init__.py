"""Queries behind the resources."""
