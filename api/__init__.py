"""The read layer: a WSGI application that serves snapshots and live summaries."""
