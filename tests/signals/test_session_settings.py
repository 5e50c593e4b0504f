"""Independence of published and served bytes from a session's default settings."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import pytest
from falcon.testing import TestClient
from sqlalchemy import make_url, text

from api.app import AppDependencies, create_app
from ops.cli import main
from snapshots import database, sessions
from snapshots.settings import Settings, load
from snapshots.signals import AUTHENTICATOR_ROLE, READER_ROLE, TRIAGE_ROLE, WORKER_ROLE
from tests.api.arrange import PREFIX, Api, Moment
from tests.factories import insert_run
from tests.pooler import pooled_readers, reading_engine
from tests.signals import recorded
from tests.signals.hostile import COMBINATIONS, Defaults, add_shadows, hostile
from worker.engine.batch import refresh_batch
from worker.engine.context import RefreshContext
from worker.engine.publish import draw_fence
from worker.signals.registry import SIGNALS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy import Connection, Engine

    from tests.postgres import Server

needs_recordings = pytest.mark.skipif(
    not recorded.FOLDER.is_dir(), reason="the recorded runs are not beside the repository"
)
#: The combinations that `make test` takes; `make test-full` takes all of them.
_FEW: Final = ("PGTZ", "three zones at once", "everything")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give each test that names a combination a few of them, or all at full size."""
    if "combination" in metafunc.fixturenames:
        names = list(COMBINATIONS) if metafunc.config.getoption("--full-size") else _FEW
        metafunc.parametrize("combination", names)


_UNTIMED: Final = datetime(2026, 1, 17, tzinfo=UTC)
#: Instants with much to say: costs of 2011, a day before clocks change in America, untimed runs, the newest runs.
_INSTANTS: Final = (
    datetime(2011, 7, 4, tzinfo=UTC),
    datetime(2024, 11, 2, tzinfo=UTC),
    _UNTIMED + timedelta(hours=1),
    datetime(2026, 8, 9, tzinfo=UTC),
)
_TENANTS: Final = ("aider-u01", "whissle-agentclinic", "tau-airline", "nab-adexchange")
#: All that a publication leaves, but for the times at which it was written down.
_PUBLISHED: Final = (
    "select tenant_id, signal, version, content, items, basis, shape, window_json, as_of from signals.snapshot",
    "select tenant_id, signal, version, content, items, window_json, as_of, replaced_at from signals.snapshot_history",
    "select tenant_id, signal, version, marks, lengths, departed from signals.movement",
    "select tenant_id, change_no, signal, fingerprint, key, kind, rank, value, severity, at from signals.signal_change",
    "select relname, pg_get_expr(relpartbound, oid) from pg_catalog.pg_class where relname like 'snapshot_history_2%'",
)


@pytest.fixture(scope="module")
def recordings(server: Server) -> Iterator[str]:
    """Yield the owner's URL of a database with every recorded run, and nothing published."""
    url = server.create_migrated_database()
    engine = database.connect(url)
    with engine.begin() as conn:
        add_shadows(conn)
        for folder in ("timed", "untimed", "nab"):
            recorded.load(conn, folder, started_at=_UNTIMED)
            recorded.apply_overlay(conn, folder)
            conn.execute(text("drop table pg_temp.overlay"))
    yield url
    engine.dispose()
    server.drop_database(url)


@pytest.fixture(scope="module")
def expected(server: Server, recordings: str) -> list[list[tuple[object, ...]]]:
    """Return what is published where every setting is the server's own."""
    return _publications(server.url_as(WORKER_ROLE, recordings))


def _publications(url: str) -> list[list[tuple[object, ...]]]:
    """Return what the worker publishes at the instants; nothing of it stays."""
    engine = database.connect(url)
    try:
        with engine.connect() as conn:
            _publish(conn)
            return [sorted(tuple(map(str, row)) for row in conn.execute(text(query))) for query in _PUBLISHED]
    finally:
        engine.dispose()


def _publish(conn: Connection) -> None:
    settings = load()
    for as_of in _INSTANTS:
        for signal in SIGNALS.values():
            _, fence = draw_fence(conn)
            refresh_batch(conn, RefreshContext(signal, settings, fence, as_of, fence))


@needs_recordings
def test_no_default_of_a_session_alters_what_is_published(
    server: Server, recordings: str, expected: list[list[tuple[object, ...]]], combination: str
) -> None:
    with hostile(server, recordings, COMBINATIONS[combination]):
        found = _publications(server.url_as(WORKER_ROLE, recordings))

    assert min(map(len, expected)) > 1, [len(rows) for rows in expected]
    assert found == expected


@pytest.fixture(scope="module")
def published(server: Server) -> Iterator[Engine]:
    """Yield the owner's engine of a database where the recorded runs are published, and a decision is taken on each."""
    url = server.create_migrated_database()
    engine = database.connect(url)
    with engine.begin() as conn:
        add_shadows(conn)
        for folder in ("timed", "untimed", "nab"):
            recorded.load(conn, folder, started_at=_UNTIMED)
            recorded.apply_overlay(conn, folder)
            conn.execute(text("drop table pg_temp.overlay"))
        _publish(conn)
        conn.execute(
            text(
                "insert into signals.triage_event (tenant_id, signal, fingerprint, key, action, until, actor, at)"
                " select tenant_id, signal, fingerprint, key, 'snooze', :until, 'test', :at from signals.item_state"
                " where left_at is null"
            ),
            {"until": datetime(2026, 11, 1, 5, 30, tzinfo=UTC), "at": datetime(2026, 8, 8, 23, 59, tzinfo=UTC)},
        )
    yield engine
    engine.dispose()
    server.drop_database(url)


@pytest.fixture(scope="module")
def served(server: Server, published: Engine) -> dict[str, bytes]:
    """Return what is served where every setting is the server's own, by path."""
    found = _answers(published, [reading_engine(url) for url in _logins(server, published)])
    dated = [path for path, body in found.items() if b"T0" in body or b"T1" in body or b"T2" in body]
    assert len(dated) > len(found) / 2
    return found


def _logins(server: Server, owner: Engine) -> list[Any]:
    url = owner.url.render_as_string(hide_password=False)
    return [make_url(server.url_as(role, url)) for role in (READER_ROLE, AUTHENTICATOR_ROLE, TRIAGE_ROLE)]


def _answers(owner: Engine, engines: list[Engine]) -> dict[str, bytes]:
    """Return the bodies of the read layer over the engines of its three roles, by tenant and path."""
    reader, authenticator, triager = engines
    moment = Moment(now=_INSTANTS[-1] + timedelta(minutes=5))
    around = AppDependencies(clock=moment.clock, timer=moment.timer, triage=triager)
    api = Api(TestClient(create_app(reader, authenticator, Settings(console=False), around)), owner, moment)
    found = {}
    for tenant in _TENANTS:

        def ask(path: str, tenant: str = tenant) -> Any:  # noqa: ANN401  # a document
            answer = api.get(f"{PREFIX}/{path}", tenant=tenant)
            # A tenant that had nothing then has no version of that instant.
            assert answer.status_code == 200 or "as_of" in path, (path, answer.text)
            found[f"{tenant} {path}"] = answer.content
            return answer.json

        _ask_all(ask)
    for engine in engines:
        engine.dispose()
    return found


def _ask_all(ask: Callable[[str], Any]) -> None:
    """Ask for the snapshots, past ones among them, and for everything that is live, two pages each."""
    for path in ("patterns", "cost-analysis", "attention-queue?limit=100&snoozed=show", "freshness"):
        ask(path)
    ask("cost-analysis?as_of=2024-11-02T12:00:00Z")
    for query in ("runs?limit=3", "runs?limit=3&sort=completed_at&order=asc", "runs?limit=2&sort=estimated_cost_usd"):
        page = ask(query)
        if page["next_cursor"]:
            ask(f"{query}&cursor={page['next_cursor']}")
    ask("runs?started_after=2024-11-03T01:30:00-04:00&limit=5")
    ask("summary/by-status?started_before=2024-11-03T05:30:00Z")
    ask("runs/by-dimension?dim=agent_id")
    run = f"runs/{page['items'][0]['run_id']}?limit=2"
    detail = ask(run)
    if detail["next_cursor"]:
        ask(f"{run}&cursor={detail['next_cursor']}")
    ask("changes?before=now")
    for change in ask("changes?limit=3")["changes"][:1]:
        ask(f"history?signal={change['signal']}&key={change['fingerprint']}&since=2011-01-01T00:00:00Z")
        ask(f"triage?fingerprint={change['fingerprint']}")


@needs_recordings
@pytest.mark.parametrize("is_pooled", [False, True], ids=["direct", "pooled"])
def test_no_default_of_a_session_alters_what_is_served(
    server: Server, published: Engine, served: dict[str, bytes], combination: str, *, is_pooled: bool
) -> None:
    url = published.url.render_as_string(hide_password=False)
    logins = _logins(server, published)
    with hostile(server, url, COMBINATIONS[combination], is_pooled=is_pooled):
        if is_pooled:
            with pooled_readers(logins) as engines:
                found = _answers(published, engines)
        else:
            found = _answers(published, [reading_engine(login) for login in logins])

    assert found == served


def test_the_environments_zone_alters_no_byte_of_what_compute_prints(
    fresh_database: str, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    engine = database.connect(fresh_database)
    with engine.begin() as conn:
        started = datetime(2024, 11, 3, 2, 34, tzinfo=UTC)
        insert_run(conn, state="LIVE", risk_level="AT_RISK", started_at=started, last_seen_at=started)
    engine.dispose()
    monkeypatch.setenv("ACTIVITY_DATABASE_URL", fresh_database)

    def compute() -> bytes:
        with pytest.raises(SystemExit):
            main(["compute", "attention", "--tenant", "acme", "--as-of", "2024-11-03T05:30:00Z"])
        return capfdbinary.readouterr().out

    printed = compute()
    monkeypatch.setenv("PGTZ", "America/New_York")

    assert compute() == printed
    body = json.loads(printed)
    assert body["generated_at"] == "2024-11-03T05:30:00.000000Z"
    assert body["queue"][0]["started_at"] == "2024-11-03T02:34:00.000000Z"


def test_a_session_has_every_pinned_setting(server: Server, fresh_database: str) -> None:
    role = {name: value for name, value in COMBINATIONS["everything"].role.items() if name in sessions.PINNED}
    with hostile(server, fresh_database, Defaults({"PGTZ": "Asia/Tokyo"}, role, {"DateStyle": "German"})):
        engine = database.connect(server.url_as(WORKER_ROLE, fresh_database))
        with engine.connect() as conn:
            found = {name: _setting(conn, name) for name in sessions.PINNED}
            conn.rollback()
            again = {name: _setting(conn, name) for name in sessions.PINNED}
        engine.dispose()

    assert found == again == dict(sessions.PINNED)


def test_an_engine_does_not_adopt_a_foreign_isolation_level(server: Server, fresh_database: str) -> None:
    with hostile(server, fresh_database, Defaults(database={"default_transaction_isolation": "serializable"})):
        engine = database.connect(fresh_database)
        with engine.execution_options(isolation_level="REPEATABLE READ").connect() as conn:
            assert _setting(conn, "transaction_isolation") == "repeatable read"
        with engine.connect() as conn:
            assert _setting(conn, "transaction_isolation") == "read committed"
        engine.dispose()


def test_a_session_in_replica_mode_is_refused_by_name(server: Server, fresh_database: str) -> None:
    with hostile(server, fresh_database, Defaults(role={"session_replication_role": "replica"})):
        engine = database.connect(server.url_as(WORKER_ROLE, fresh_database))
        with pytest.raises(sessions.SessionSettingsError, match="session_replication_role is 'replica'"):
            engine.connect()
        engine.dispose()


def test_bounds_of_a_partition_are_midnights_of_utc(server: Server, fresh_database: str) -> None:
    """In a zone whose abbreviation means another zone when it is read back."""
    day = text("select signals.ensure_history_partition(date '2031-02-03')")
    bounds = text(
        "select pg_get_expr(relpartbound, oid) from pg_class"
        " where oid = cast('signals.snapshot_history_20310203' as regclass)"
    )
    engine = database.connect(server.url_as(WORKER_ROLE, fresh_database))
    with engine.begin() as conn:
        conn.exec_driver_sql("set local timezone = 'Asia/Kolkata'; set local datestyle = 'SQL, DMY'")
        conn.execute(day)
    with engine.connect() as conn:
        found = conn.execute(bounds).scalar_one()
    engine.dispose()

    assert found == "FOR VALUES FROM ('2031-02-03 00:00:00+00') TO ('2031-02-04 00:00:00+00')"


def test_each_function_names_its_search_path(conn: Connection) -> None:
    """A function whose body is parsed when it is created needs none."""
    found = conn.execute(
        text(
            "select proname from pg_catalog.pg_proc"
            " where pronamespace = to_regnamespace('signals') and prosqlbody is null"
            " and not coalesce(array_to_string(proconfig, ' '), '') like '%search_path=pg_catalog, pg_temp%'"
        )
    )

    assert found.scalars().all() == []


def _setting(conn: Connection, name: str) -> str:
    return str(conn.execute(text("select current_setting(:name)"), {"name": name}).scalar_one())
