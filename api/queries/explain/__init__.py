"""Why an item is there: what was stored with the snapshot, the arithmetic of its rule, and what the source says now."""
