# Constellation in a container, on processors. From the root of a checkout:
#
#     docker build -f cluster/containers/cpu.Dockerfile -t constellation:cpu .
#
# Where PyPI's torch holds CUDA (Linux on x86), PyTorch's own index of CPU builds makes the image
# several GB smaller: --build-arg TORCH_INDEX=URL (the address is on PyTorch's page "Get Started").
FROM python:3.11.11-slim-bookworm AS build
ARG TORCH_INDEX=""
WORKDIR /source
RUN python -m venv /opt/constellation
COPY constraints.txt ./
RUN /opt/constellation/bin/pip install --no-cache-dir -c constraints.txt \
    ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} torch
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
    CONSTELLATION_RUN_DIR=/run/constellation
USER 10001:10001
WORKDIR /home/constellation
EXPOSE 50051 50052
HEALTHCHECK --interval=10s --timeout=5s --start-period=120s --retries=3 \
    CMD ["python", "-m", "cluster.health_check"]
ENTRYPOINT ["constellation-serve"]
