# syntax=docker/dockerfile:1
# The server without a package manager's leftovers: not as root, and on a read-only root file system (compose.yaml).
# Any Debian with Python 3.11 to 3.13 as `python`, such as the copy of this image in a registry of one's own.
ARG BASE=python:3.13-slim
FROM ${BASE} AS build
WORKDIR /app
RUN python -m venv /venv
# The lock holds what was tested. The SDKs of Azure's and Amazon's stores are in the lock of the tests.
COPY requirements.lock requirements-dev.lock ./
RUN /venv/bin/pip install --no-cache-dir --no-deps -r requirements.lock
ARG EXTRAS=s3
COPY pyproject.toml README.md LICENSE ./
COPY datalayer ./datalayer
COPY threadkeeper ./threadkeeper
# Without pip, and without what packages bring for their own tests, for debuggers of browsers and for notebooks: 65 MB.
RUN /venv/bin/pip install --no-cache-dir -c requirements-dev.lock --editable ".[${EXTRAS}]" && rm requirements-dev.lock \
    && /venv/bin/pip uninstall --yes pip \
    && find /venv \( -name tests -o -name "*.map" -o -name labextension -o -name jupyter \) -prune -exec rm -rf {} +

FROM ${BASE}
RUN groupadd --system --gid 10001 threadkeeper \
    && useradd --system --uid 10001 --gid 10001 --no-create-home --home-dir /tmp threadkeeper \
    && mkdir /data && chown threadkeeper:threadkeeper /data
COPY --from=build /venv /venv
COPY --from=build /app /app
WORKDIR /app
COPY app.py chainlit*.md ./
COPY .chainlit ./.chainlit
COPY public ./public
# The sample assistant answers from it.
COPY docs ./docs
COPY deploy ./deploy
RUN /venv/bin/python -m compileall -q app.py datalayer threadkeeper
ENV PATH=/venv/bin:$PATH HOME=/tmp HOST=0.0.0.0 PORT=8000 DATA_DIR=/data LOG_JSON=true PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
# Spool files, and with SQLite and the folder store everything.
VOLUME /data
EXPOSE 8000
# Not /ready: a server whose database is away keeps its queue, and must not be restarted.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s CMD ["python", "/app/deploy/healthy.py"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["/app/deploy/entrypoint.sh"]
CMD ["serve"]
