# gfla on the CPU. The image runs without network, as another user than root, and with a read-only file system:
#
#   docker build -t gfla .
#   docker run --rm --network none --read-only --tmpfs /tmp -u "$(id -u)" -v "$PWD:/work" gfla \
#       pose-transfer anna.jpg --pose ben.jpg -o anna-as-ben.png

FROM python:3.13-slim AS build
WORKDIR /src
RUN python -m venv /opt/gfla
# Torch without CUDA, which PyPI's wheels for Linux bring along
RUN /opt/gfla/bin/pip install --no-cache-dir "torch>=2.6,<2.14" --index-url https://download.pytorch.org/whl/cpu
COPY . .
RUN /opt/gfla/bin/pip install --no-cache-dir ".[app]"

FROM python:3.13-slim
# What opencv-python and MediaPipe load
RUN apt-get update \
    && apt-get install -y --no-install-recommends libgl1 libglib2.0-0 libegl1 libgles2 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home gfla
COPY --from=build /opt/gfla /opt/gfla
ENV PATH=/opt/gfla/bin:$PATH HF_HUB_OFFLINE=1 GFLA_CACHE=/tmp/gfla
USER gfla
WORKDIR /work
ENTRYPOINT ["gfla"]
CMD ["--help"]
