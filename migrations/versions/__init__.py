"""Alembic revisions: 086 and 094 describe a host, 095 adds the indexes of the spec, the rest is ours."""
