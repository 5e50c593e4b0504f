"""The signals: one folder each, with its specification and its SQL."""
