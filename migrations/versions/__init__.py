"""Alembic revisions: 086 and 094 describe a host, 095 adds the specification's indexes, later ones are ours."""
