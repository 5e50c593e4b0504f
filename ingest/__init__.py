"""Foreign telemetry and files turned into runs, traces and steps."""
