"""Asking before what cannot be undone."""

from __future__ import annotations

import sys

import click

from snapshots.errors import ActivityError


def confirm(question: str, *, yes: bool) -> None:
    """Return once a person has agreed, or `yes` was given.

    Raises click.Abort when the person does not agree, ActivityError where there is nobody to ask.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise ActivityError("this cannot be undone, and nobody is at a terminal to agree; repeat with --yes")
    click.confirm(question, abort=True, err=True)
