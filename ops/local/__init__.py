"""A local installation: embedded servers, supervisor, demo data."""
