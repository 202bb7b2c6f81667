# The caption server on a CPU. Build and run:
#
#   docker build --tag show-and-tell .
#   docker run --rm --publish 8000:8000 --read-only --cap-drop ALL --stop-timeout 40 show-and-tell
#
# It writes to no disk: gunicorn's heartbeat, a file of no bytes, is in the container's shared memory.
#
# For GPUs: --build-arg EXTRAS=gpu, and `docker run --gpus all`. EXTRAS=tensorflow serves bundles without LiteRT's files.
#
# A tag moves, a digest does not. Build what you have tested with
#   --build-arg BASE=python:3.13-slim@sha256:...
# where `docker buildx imagetools inspect python:3.13-slim` shows the digest.
ARG BASE=python:3.13-slim

FROM ${BASE} AS build
ARG EXTRAS=""
WORKDIR /src
COPY pyproject.toml README.md LICENSE NOTICE ./
COPY locks locks
COPY model model
COPY server server
COPY static static
# Only files with the hashes of the locks are installed, among them what reads HEIC; what builds the project has an
# environment of its own. Training is left out, so its command is, too.
RUN python -m venv --without-pip .build && \
    pip --python .build/bin/python install --no-cache-dir --only-binary :all: --require-hashes \
        --requirement locks/build.txt && \
    .build/bin/python -m pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir wheels . && \
    python -m venv --without-pip /opt/show-and-tell && \
    pip --python /opt/show-and-tell/bin/python install --no-cache-dir --only-binary :all: --require-hashes \
        --requirement "locks/${EXTRAS:-serve}.txt" && \
    pip --python /opt/show-and-tell/bin/python install --no-cache-dir --no-deps wheels/*.whl && \
    rm /opt/show-and-tell/bin/showtell-train

FROM ${BASE}
LABEL org.opencontainers.image.title="show-and-tell-server" \
      org.opencontainers.image.description="Image captions and classes over HTTP, with a demo page" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /opt/show-and-tell /opt/show-and-tell
# NVIDIA's runtime gives a container only the parts of the driver that it names.
ENV PATH=/opt/show-and-tell/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    TMPDIR=/dev/shm \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    SHOWTELL_HOST=0.0.0.0 \
    SHOWTELL_PORT=8000
# A number, so that Kubernetes can see that it is not root.
USER 10001:10001
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s --start-interval=1s \
    CMD ["python", "-c", "import os, urllib.request as u; u.urlopen(f'http://127.0.0.1:{os.environ[\"SHOWTELL_PORT\"]}/readyz', timeout=2)"]
ENTRYPOINT ["showtell-serve"]
