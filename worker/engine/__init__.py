"""The refresh engine: brings one signal of a shard, or of named tenants, up to date."""
