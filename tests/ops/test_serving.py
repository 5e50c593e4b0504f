"""The processes that serve an application share its code."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import pytest

from benchmarks.serving import serving

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="processes are forked on Linux alone")
def test_the_application_is_imported_once_for_all_processes(tmp_path: Path) -> None:
    with serving("application", ["tests.ops.imported"], {}, tmp_path) as server:
        said = json.loads(server.get("/").body)

        assert said["imported_by"] == server.process.pid
        assert said["answered_by"] != server.process.pid
