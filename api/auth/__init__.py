"""Authentication: API keys, tokens, sessions, limits."""
