"""A system without a process: what it would show, arranged by hand or by the engine itself."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from falcon.testing import TestClient
from sqlalchemy import func, select, update

from api.app import AppDependencies, create_app
from migrations.ingest import open_source
from ops.health.metrics import HealthCollector
from ops.health.watch import Watch
from snapshots import settings
from snapshots.tables import refresh
from tests.api.arrange import Api, Moment
from tests.ingest.receiver import receiver_over
from tests.ops.promql import Scrapes
from tests.ops.scraping import API_JOB, RECEIVER_JOB, samples
from worker.engine import ledger
from worker.engine import refresh as engine
from worker.engine.context import RefreshRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import redis
    from sqlalchemy import Connection, Engine

    from snapshots.settings import Settings
    from tests.ingest.receiver import Receiver
    from tests.ops.promql import Series


@dataclass
class System:
    """A database, a broker and a read layer without a process; scrapes of it are stored as they come."""

    owner: Engine
    worker: Engine
    reader: Engine
    authenticator: Engine
    ingest: Engine
    broker: redis.Redis
    settings: Settings
    stored: Scrapes = field(default_factory=Scrapes)
    now_s: float = 0.0
    moment: Moment = field(default_factory=Moment)

    def run(self, signal: str) -> int:
        """Refresh a signal as a worker does, and return the attempt's id in the ledger."""
        engine.refresh(self.worker, signal, self.settings)
        with self.owner.connect() as conn:
            return int(conn.execute(select(func.max(refresh.c.refresh_id))).scalar_one())

    def change(self, plant: Callable[[Connection], object]) -> None:
        """Do something to the database, as its owner."""
        with self.owner.begin() as conn:
            plant(conn)

    def request(self, **values: object) -> int:
        """Ask for a recompute of a signal as an operator does; `values` are written over its row."""
        with self.owner.execution_options(isolation_level="AUTOCOMMIT").connect() as books:
            refresh_id = ledger.request(books, RefreshRequest("cost", mode="manual", requested_by="a test"))
            if values:
                books.execute(update(refresh).where(refresh.c.refresh_id == refresh_id).values(values))
        return refresh_id

    def api(self, **options: object) -> Api:
        """Return a read layer over the database."""
        around = AppDependencies(clock=self.moment.clock, timer=self.moment.timer)
        app = create_app(self.reader, self.authenticator, settings.load(**options), around)
        return Api(TestClient(app), self.owner, self.moment)

    def receiver(self) -> Receiver:
        """Return a receiver over the database, whose role may write the source tables."""
        self.change(open_source)
        return receiver_over(self.ingest, self.authenticator, self.owner)

    def scrape(self, after_s: float = 0.0) -> None:
        """Store what the exporter tells."""
        self.now_s += after_s
        watch = Watch(self.worker, self.settings)
        families = list(HealthCollector(watch).collect())
        self.store(
            {(each.name, frozenset(each.labels.items())): each.value for one in families for each in one.samples}
        )

    def families(self) -> set[str]:
        """Return the names of all metrics of the exporter, with samples or without."""
        return {family.name for family in HealthCollector(Watch(self.worker, self.settings)).collect()}

    def scrape_api(self, api: Api, after_s: float = 0.0) -> None:
        """Store what a read layer tells."""
        self.now_s += after_s
        self.store(samples(api.client.simulate_get("/metrics").text, API_JOB))

    def scrape_receiver(self, receiver: Receiver, after_s: float = 0.0) -> None:
        """Store what a receiver tells."""
        self.now_s += after_s
        self.store(samples(receiver.client.simulate_get("/metrics").text, RECEIVER_JOB))

    def store(self, found: Mapping[Series, float]) -> None:
        """Store samples."""
        self.stored.add(self.now_s, found)
