"""Attribute vocabularies of instrumentations."""
