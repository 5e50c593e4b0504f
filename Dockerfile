# The `activity` command in a small image without tools to build or install anything: docs/deployment.md.
FROM python:3.12-slim AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /source

# Everything that the lock names, each file checked against its hash; what follows installs from here and from nowhere else.
COPY requirements.lock ./
RUN python -m pip download --require-hashes --only-binary :all: --requirement requirements.lock --dest /wheels
# Of /wheels, whose version the lock names; a layer of its own, which changes more seldom than the one before.
# hadolint ignore=DL3013,DL3059
RUN python -m pip install --no-index -f /wheels setuptools

COPY pyproject.toml README.md LICENSE ./
COPY api api
COPY ingest ingest
COPY migrations migrations
COPY ops ops
COPY snapshots snapshots
COPY worker worker
RUN python -m pip wheel --no-index --no-deps --no-build-isolation --wheel-dir /wheels .
# The lock holds the developers' tools too: only what the product itself requires is installed.
RUN python -m venv --without-pip /opt/activity \
    && python -m pip --python /opt/activity/bin/python install --no-index -f /wheels activity-signals

FROM python:3.12-slim
RUN python -m pip uninstall --yes --root-user-action=ignore pip \
    && useradd --uid 10001 --user-group --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin activity
COPY --from=build /opt/activity /opt/activity
# The root may be read-only: bytecode was compiled above.
ENV PATH=/opt/activity/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
WORKDIR /tmp
USER 10001:10001
EXPOSE 8000
# Each process has a check of its own: docker-compose.yml.
HEALTHCHECK NONE
ENTRYPOINT ["activity"]
CMD ["--help"]
