"""What a host has of what the signals read: looked at without changing anything, and without reading much of it."""
