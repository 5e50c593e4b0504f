"""`celery -A worker.main`: the application of this environment."""

from __future__ import annotations

from snapshots import settings
from worker.app import create_app

app = create_app(settings.load())
