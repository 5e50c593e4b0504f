"""Variables that `activity up` exports for an operator's shell, and that a later `activity up` recognises.

They lead to the embedded servers of one data folder. An `activity up` that took them for configuration would use that
folder's database as an external one, whatever its own folder is. So the file of exports says which of its values are of
embedded servers, by digest: a value that the operator has set since is another one, and counts.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

from snapshots.setting_files import PREFIX

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

#: The data folder whose servers the exported URLs lead to.
FOLDER_VARIABLE: Final = f"{PREFIX}EXPORTED_BY"
#: `NAME=digest` of each URL of an embedded server, separated by spaces.
DIGESTS_VARIABLE: Final = f"{PREFIX}EXPORTED_DIGESTS"


def marks(variables: Mapping[str, str], folder: str, embedded: Iterable[str]) -> dict[str, str]:
    """Return the variables that mark those named `embedded` as leading to the servers of `folder`."""
    digests = " ".join(f"{name}={_digest(variables[name])}" for name in embedded if name in variables)
    return {FOLDER_VARIABLE: folder, DIGESTS_VARIABLE: digests} if digests else {}


def recognised(environment: Mapping[str, str]) -> list[str]:
    """Return the names of the variables in `environment` that an `activity up` exported and nobody has set since."""
    pairs = (pair.partition("=") for pair in environment.get(DIGESTS_VARIABLE, "").split())
    return [name for name, _, digest in pairs if name in environment and _digest(environment[name]) == digest]


def _digest(value: str) -> str:
    return hashlib.sha256(value.encode(errors="surrogateescape")).hexdigest()
