"""Health of a running system: status, metrics, support bundle."""
