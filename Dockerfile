# One recipe for every service:
#   docker build --build-arg SERVICE=events -t holdfast-events .
# The image runs as a user of its own, writes nowhere but /tmp, and holds no configuration: docs/configuration.md.
ARG PYTHON_IMAGE=python:3.11-slim

FROM ${PYTHON_IMAGE} AS build
ARG SERVICE
WORKDIR /build
RUN case "${SERVICE}" in gateway|events|capacity|pricing) ;; \
      *) echo "SERVICE must be gateway, events, capacity or pricing" >&2; exit 1 ;; esac
RUN python -m venv /opt/holdfast/python
COPY requirements/runtime.txt requirements/runtime.txt
RUN /opt/holdfast/python/bin/pip install --no-cache-dir --disable-pip-version-check \
      --require-hashes --no-deps -r requirements/runtime.txt
# The workspace's packages are pure Python under one namespace, so copying them is installing them: that needs no build
# backend, which would be the only requirement without a hash.
COPY libs/api/buf /opt/holdfast/packages/buf
COPY libs/api/holdfast /opt/holdfast/packages/holdfast
COPY libs/common/holdfast /opt/holdfast/packages/holdfast
COPY services/${SERVICE}/holdfast /opt/holdfast/packages/holdfast
RUN /opt/holdfast/python/bin/python -m compileall -q /opt/holdfast/packages \
    && printf '#!/bin/sh\nexec /opt/holdfast/python/bin/python -m holdfast.%s "$@"\n' "${SERVICE}" \
      > /opt/holdfast/service \
    && chmod 0755 /opt/holdfast/service

FROM ${PYTHON_IMAGE}
ARG SERVICE
LABEL org.opencontainers.image.title="holdfast-${SERVICE}" \
      org.opencontainers.image.licenses="Apache-2.0"
# Directories that volumes are mounted on, so that a new volume belongs to the user that writes it.
RUN groupadd --system --gid 10001 holdfast \
    && useradd --system --uid 10001 --gid 10001 --no-create-home --shell /usr/sbin/nologin holdfast \
    && install -d -o holdfast -g holdfast -m 0700 /authority /identity \
         /identity/gateway /identity/events /identity/capacity /identity/pricing /nats
COPY --from=build /opt/holdfast /opt/holdfast
ENV PATH=/opt/holdfast/python/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONPATH=/opt/holdfast/packages \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    PYTHONSAFEPATH=1
USER 10001:10001
# Containers let their …_METRICS_LISTEN be on port 9100, whatever the service.
HEALTHCHECK --interval=5s --timeout=3s --start-period=60s --retries=3 \
  CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:9100/health/ready', timeout=2)"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["/opt/holdfast/service"]
CMD ["serve"]
