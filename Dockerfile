# One image for all processes: `subledger web` by default; `subledger worker` and `subledger migrate` as the command.
# docs/deploy.md says how to run it; compose.yaml runs everything on one machine.

FROM python:3.11-slim-bookworm AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /opt/subledger
# The pinned packages first: this layer stays while only our own code changes. With traces: requirements-traces.txt.
ARG REQUIREMENTS=requirements.txt
COPY requirements.txt requirements-traces.txt /src/
RUN /opt/subledger/bin/pip install --require-hashes --only-binary=:all: -r /src/$REQUIREMENTS
COPY . /src/
RUN /opt/subledger/bin/pip install --no-deps /src && /opt/subledger/bin/pip uninstall --yes pip

FROM python:3.11-slim-bookworm
RUN useradd --system --uid 10001 --user-group --home-dir /nonexistent --shell /usr/sbin/nologin subledger
COPY --from=build /opt/subledger /opt/subledger
ENV PATH=/opt/subledger/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
# By number, so that a cluster can see that it is not root. Nothing is written: the file system may be read-only.
USER 10001:10001
WORKDIR /
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=3 \
  CMD ["python", "-c", "import os, urllib.request as u; u.urlopen('http://127.0.0.1:' + os.environ.get('PORT', '8000') + '/healthz', timeout=4)"]
CMD ["subledger", "web"]
