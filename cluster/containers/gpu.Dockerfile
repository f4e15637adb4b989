# Constellation in a container, on NVIDIA GPUs. From the root of a checkout:
#
#     docker build -f cluster/containers/gpu.Dockerfile -t constellation:gpu .
#
# PyPI's torch brings CUDA; the machine needs only NVIDIA's driver and container runtime.
FROM python:3.11.11-slim-bookworm AS build
WORKDIR /source
RUN python -m venv /opt/constellation
COPY constraints.txt ./
RUN /opt/constellation/bin/pip install --no-cache-dir -c constraints.txt torch
COPY pyproject.toml README.md LICENSE ./
COPY constellation ./constellation
COPY actors ./actors
COPY training ./training
COPY cluster ./cluster
RUN /opt/constellation/bin/pip install --no-cache-dir -c constraints.txt .

FROM python:3.11.11-slim-bookworm
RUN useradd --uid 10001 --create-home constellation \
    && install --directory --owner=10001 --group=10001 --mode=700 /artifacts /run/constellation
COPY --from=build /opt/constellation /opt/constellation
COPY --chmod=755 cluster/containers/serve.sh /usr/local/bin/constellation-serve
COPY --chmod=755 cluster/containers/head.sh /usr/local/bin/constellation-head
COPY --chmod=755 cluster/containers/worker.sh /usr/local/bin/constellation-worker
ENV PATH=/opt/constellation/bin:/usr/local/bin:/usr/bin:/bin \
    CONSTELLATION_ARTIFACTS=/artifacts \
    CONSTELLATION_RUN_DIR=/run/constellation \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
USER 10001:10001
WORKDIR /home/constellation
EXPOSE 50051 50052
HEALTHCHECK --interval=10s --timeout=5s --start-period=120s --retries=3 \
    CMD ["python", "-m", "cluster.health_check"]
ENTRYPOINT ["constellation-serve"]
