"""IBM's Model Asset Exchange (MAX)."""
