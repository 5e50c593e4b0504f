"""Settings from files: variables that name a file which holds a URL."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from pydantic_settings import EnvSettingsSource

from snapshots.errors import SettingsError

PREFIX: Final = "ACTIVITY_"
#: The settings that hold a password: `ACTIVITY_<NAME>_FILE` may name a file that holds the URL.
URLS: Final = (
    "database_url", "worker_database_url", "auth_database_url", "reader_database_url", "triage_database_url",
    "ingest_database_url",
    "broker_url", "rate_limit_url",
)  # fmt: skip


class UrlFiles(EnvSettingsSource):
    """The URLs that variables name a file for. Neither path nor content is in an error: both may hold a password."""

    def __call__(self) -> dict[str, str]:
        """Return the URLs by setting. Raises SettingsError naming the variable."""
        named = {name: self.env_vars.get(f"{PREFIX}{name}_file".lower()) for name in URLS}
        return {name: self._content(name, path) for name, path in named.items() if path is not None}

    def _content(self, name: str, path: str) -> str:
        direct = f"{PREFIX}{name.upper()}"
        if f"{PREFIX}{name}".lower() in self.env_vars:
            raise SettingsError(f"{direct}_FILE: set beside {direct}; expected one of the two")
        content = _read(f"{direct}_FILE", path).strip()
        if not content:
            raise SettingsError(f"{direct}_FILE: the file is empty; expected a URL in it")
        return content


def _read(variable: str, path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError as ex:
        raise SettingsError(f"{variable}: the file cannot be read ({ex.strerror})") from None
    except ValueError:
        raise SettingsError(f"{variable}: the file is not text; expected a URL in it") from None
