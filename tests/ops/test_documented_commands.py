"""Checks of every documented block and command that `test_readme.py` does not run."""

from __future__ import annotations

import re
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final

import click
import pytest

from ops.cli import activity, main
from tests.ops.composition import SERVICES
from tests.ops.documents import DOCUMENTS, ROOT, blocks, commands, documented, words_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

#: The languages of blocks: commands that are run as they are, commands and other lines that are looked at here, data.
LANGUAGES: Final = {"sh", "text", "sql", "json", "python", "toml", "yaml", "mermaid"}
#: Run as they are written by the test named.
RUN_ELSEWHERE: Final = {
    "pg_dump": "tests/migrations/test_backup.py",
    "pg_restore": "tests/migrations/test_backup.py",
    "psql": "tests/migrations/test_backup.py",
    "curl": "tests/api/test_triage.py",
    "ops/containers/make-secrets": "tests/ops/test_deployment.py",
}
#: Documents whose commands in blocks of text are run here, those of a tuple on one database.
RUN_HERE: Final = (("api",), ("webhooks",), ("operations/upgrade", "operations/recover", "operations/monitor"))
#: What a line of a document stands for where a test runs it.
STANDS_FOR: Final = {
    "https://hooks.example.com/activity": "http://127.0.0.1:9/activity",
    "https://hooks.slack.com/services/...": "http://127.0.0.1:9/services/x",
}
#: At a terminal these ask.
ASKING: Final = ("erase", "uninstall")
#: Exit codes other than 0: nobody listens where this webhook leads.
EXPECTED: Final = {"activity webhooks test 1": 1}


def find(words: list[str]) -> tuple[click.Command, click.Context, list[str]]:
    """Return the command that `words` name after `activity`, its parent's context, and what is left of them."""
    command: click.Command = activity
    context, left = click.Context(activity, info_name="activity"), list(words)
    while isinstance(command, click.Group) and left:
        name = left.pop(0)
        child = command.get_command(context, name)
        assert child is not None, f"activity has no command {name!r}"
        command, context = child, click.Context(child, info_name=name, parent=context)
    return command, context, left


def parses(words: list[str]) -> None:
    """Hold an invocation of `activity` against what the command takes: options, arguments, types."""
    command, context, left = find(words)
    command.make_context(context.info_name, left, parent=context.parent)


def asks_compose(words: list[str]) -> None:
    """Hold an invocation of `docker` against docker-compose.yml, and what it runs there against our command."""
    assert words[0] == "compose"
    left = [word for word in words[1:] if word not in {"--rm", "--detach", "--build"}]
    if left[0] in {"run", "exec"}:
        assert left[1] in SERVICES
        inside = left[2:] if left[0] == "run" else left[3:]
        assert left[0] == "run" or left[2] == "activity"
        parses(inside)
    else:
        assert left == ["up"]


def is_here(words: list[str]) -> None:
    """Look for the files that `install` copies."""
    for source in (word for word in words[:-1] if word.startswith("ops/")):
        assert list(ROOT.glob(source)), source


def is_unit(words: list[str]) -> None:
    """Look for the units that `systemctl` is asked for."""
    for name in (word for word in words[1:] if not word.startswith("-")):
        assert (ROOT / "ops" / "systemd" / name).exists(), name


def is_target(words: list[str]) -> None:
    """Look for the target of `make`."""
    assert re.search(rf"^{words[0]}:", (ROOT / "Makefile").read_text(), re.MULTILINE), words[0]


def is_module(words: list[str]) -> None:
    """Look for the module of `python -m`."""
    assert words[0] == "-m"
    assert find_spec(words[1]), words[1]


def is_run_elsewhere(_words: list[str]) -> None:
    """Say nothing: the test that RUN_ELSEWHERE names runs it."""


CHECKS: Final[Mapping[str, Callable[[list[str]], None]]] = {
    "activity": parses,
    "docker": asks_compose,
    "install": is_here,
    "systemctl": is_unit,
    "make": is_target,
    "python": is_module,
    **dict.fromkeys(RUN_ELSEWHERE, is_run_elsewhere),
}

each_document = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))


@each_document
def test_every_block_says_what_it_holds(document: Path) -> None:
    assert {language for language, _ in blocks(document)} <= LANGUAGES


@each_document
def test_every_command_in_a_block_of_text_is_one_that_there_is(document: Path) -> None:
    for line in documented(document):
        program, *words = words_of(line)
        assert program in CHECKS, f"{document.name}: neither run nor looked at: {line}"
        CHECKS[program](words)


@each_document
def test_every_command_that_a_sentence_names_is_one_that_there_is(document: Path) -> None:
    prose = re.sub(r"^```.*?^```", "", document.read_text(), flags=re.DOTALL | re.MULTILINE)
    for quoted in re.findall(r"`([^`]+)`", prose):
        program, _, rest = quoted.replace("\n", " ").removeprefix(".venv/bin/").partition(" ")
        if program == "activity" and rest:
            # Alternatives stand for each of themselves, and placeholders for a value.
            path, *others = re.split(r" (?=-)", rest)
            for name in path.split()[-1].split("\\|")[0].split("|"):
                command, _, _ = find([*path.split()[:-1], name])
                options = {option for each in command.params for option in (*each.opts, *each.secondary_opts)}
                assert {word.split()[0].split("=")[0].rstrip("]") for word in others} <= {*options, "--help"}, quoted
        elif program == "make" and rest:
            is_target(rest.split())


def test_a_command_that_is_run_elsewhere_is_read_from_the_document_there() -> None:
    for where in set(RUN_ELSEWHERE.values()) - {"tests/ops/test_deployment.py"}:
        assert "documented(" in (ROOT / where).read_text(), where


def run_as_documented(line: str, capsys: pytest.CaptureFixture[str], known: Mapping[str, str]) -> str:
    """Run a line of a document in this process, and return what it printed."""
    words = [known.get(word, word) for word in words_of(line)[1:]]
    with pytest.raises(SystemExit) as ended:
        main([*words, *(["--yes"] if words[0] in ASKING and "--dry-run" not in words else [])])
    shown = capsys.readouterr()
    assert (ended.value.code or 0) == EXPECTED.get(line, 0), shown.err
    return shown.out


@pytest.mark.parametrize("names", RUN_HERE, ids=lambda names: names[0])
def test_the_commands_in_blocks_of_text_do_what_they_are_there_for(
    names: tuple[str, ...],
    fresh_database: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("ACTIVITY_DATABASE_URL", fresh_database)
    monkeypatch.setenv("ACTIVITY_NOTIFY_PRIVATE", "true")
    monkeypatch.chdir(tmp_path)
    pages = [ROOT / "docs" / f"{name}.md" for name in names]
    lines = [line for page in pages for line in documented(page) if line.startswith("activity ")]
    known = dict(STANDS_FOR)

    # The last of all is to leave for good.
    for line in sorted(lines, key=lambda each: "uninstall" in each):
        shown = run_as_documented(line, capsys, known)
        if " keys create " in line:
            known["KEY_ID"] = shown.split("_")[1]

    assert len(lines) >= 4


def test_every_document_with_commands_of_ours_in_text_is_run() -> None:
    named = {
        str(document.relative_to(ROOT / "docs").with_suffix(""))
        for document in DOCUMENTS
        for line in documented(document)
        if line.startswith("activity ")
    }

    assert named == {name for names in RUN_HERE for name in names}


@pytest.mark.parametrize(
    "words",
    [
        "keys mint --tenant acme",
        "keys create --tenant",
        "keys create --tenent acme",
        "erase",
        "receive --port 0",
    ],
)
def test_a_command_that_there_is_not_is_found(words: str) -> None:
    with pytest.raises((AssertionError, click.UsageError)):
        parses(words.split())


def test_no_fence_hides_a_block(tmp_path: Path) -> None:
    document = tmp_path / "d.md"
    document.write_text(
        "- in a list:\n\n  ```bash\n  activity mint\n  ```\n\n~~~\nactivity\n~~~\n````text\n```\na\n````\n"
        "  ```sh\n  make it\n  ```\n"
    )

    assert list(blocks(document)) == [
        ("bash", ["activity mint"]),
        ("", ["activity"]),
        ("text", ["```", "a"]),
        ("sh", ["make it"]),
    ]
    assert commands(document) == ["make it"]
