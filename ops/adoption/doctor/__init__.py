"""Doctor: it checks a host's tables for what the signals read, changes nothing and reads little."""
