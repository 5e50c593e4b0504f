"""The schema: Alembic revisions, database roles, and the one way to run them."""
