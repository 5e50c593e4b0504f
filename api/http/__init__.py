"""HTTP mechanics of the read layer: middleware, cache, problems, logs, metrics."""
