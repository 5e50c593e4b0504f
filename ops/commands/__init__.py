"""The commands of `activity`, one module each."""
