"""The `activity` command: one line on stderr and an exit code for every error a person can act on."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Final

import click
from sqlalchemy.exc import DBAPIError, OperationalError, ProgrammingError

from snapshots.errors import ActivityError, ArgumentError, SettingsError, UnknownSignalError, first_line, sqlstate

if TYPE_CHECKING:
    from collections.abc import Sequence

EXIT_FAILURE: Final = 1
EXIT_USAGE: Final = 2

#: SQLSTATE classes and codes that have an answer better than the driver's words.
_HINTS: Final = {
    "42P01": "the schema is not installed; run `activity migrate`",
    "3F000": "the schema is not installed; run `activity migrate`",
    "42501": "the role lacks a privilege; run `activity migrate` with the owner's URL",
    "28P01": "the database refuses the password",
    "3D000": "the database does not exist",
    "57014": "the statement took longer than its timeout",
}


#: The module of each command, loaded when it is called: the read layer's process must not carry Celery along.
_MODULES: Final = {
    "up": "up",
    "migrate": "migrate",
    "doctor": "doctor",
    "capture": "capture",
    "load": "load",
    "prices": "prices",
    "compute": "compute",
    "backtest": "backtest",
    "recompute": "recompute",
    "status": "status",
    "explain": "explain",
    "explain-item": "explain_item",
    "keys": "keys",
    "webhooks": "webhooks",
    "detach": "detach",
    "attach": "attach",
    "erase": "erase",
    "uninstall": "uninstall",
    "support-bundle": "support_bundle",
    "worker": "worker",
    "beat": "beat",
    "api": "api",
    "receive": "receive",
    "exporter": "exporter",
    "demo-feed": "demo_feed",
}


class _LazyGroup(click.Group):
    """A group that imports a command's module when the command is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order in which a newcomer needs them."""
        del ctx
        return list(_MODULES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command, or None when there is no such one."""
        del ctx
        if cmd_name not in _MODULES:
            return None
        name = _MODULES[cmd_name]
        command: click.Command = getattr(import_module(f"ops.commands.{name}"), name)
        return command


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="activity-signals")
def activity() -> None:
    """Precomputed pattern, cost and attention signals for fleets of AI agents."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command and exit: 0 done and well, 1 failed or not well, 2 called wrongly (docs/operations.md)."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        _check_text(given)
        activity.main(args=given, prog_name="activity")
    except (ArgumentError, SettingsError, UnknownSignalError) as ex:
        _fail(str(ex), EXIT_USAGE)
    except ActivityError as ex:
        _fail(str(ex), EXIT_FAILURE)
    except DBAPIError as ex:
        _fail(_explain(ex), EXIT_FAILURE)
    except OSError as ex:
        _fail(f"{ex.filename or 'system'}: {ex.strerror or type(ex).__name__}", EXIT_FAILURE)


def _check_text(arguments: Sequence[str]) -> None:
    """Raise ArgumentError unless every argument is text: neither the database nor a terminal could be told another."""
    for number, argument in enumerate(arguments, start=1):
        if any("\ud800" <= letter <= "\udfff" for letter in argument):
            raise ArgumentError(f"argument {number}: expected text in UTF-8")


def _fail(message: str, code: int) -> None:
    click.echo(f"activity: {message}", err=True)
    sys.exit(code)


def _explain(ex: DBAPIError) -> str:
    """Return one line for a database error, without the statement and its parameters."""
    code = sqlstate(ex)
    words = first_line(ex) or "no message"
    if isinstance(ex, OperationalError) and code is None:
        return f"database: {words}; is ACTIVITY_DATABASE_URL right, and the server up?"
    hint = _HINTS.get(code or "")
    if isinstance(ex, ProgrammingError) and hint is None:
        hint = "run `activity migrate`"
    return f"database: {words}" + (f" ({hint})" if hint else "")


if __name__ == "__main__":
    main()
