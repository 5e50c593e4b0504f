"""Housekeeping: retention, rescue of lost requests, erasure."""
