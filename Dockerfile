# The GPU environment: Python 3.11, the resolved lock, a Chrome-family browser for PNG figures.
#   docker build -t spurious-rewards .
#   docker run --gpus all --ipc host -v "$PWD/runs:/artifact/runs" -v "$PWD/results:/artifact/results" \
#     spurious-rewards make reproduce PROFILE=paper
#   docker run --gpus all --ipc host -p 8888:8888 spurious-rewards make lab LAB_FLAGS="--ip 0.0.0.0"
# CUDA comes with the pinned wheels (nvidia-cuda-runtime, -nvrtc, -nvcc, ... in gpu.lock.txt), so that one lock decides it;
# the host brings the driver and the NVIDIA container toolkit.
# Not built or run by us yet: no Docker daemon and no GPU where this was written.
FROM python:3.11-slim-bookworm

ENV DEBIAN_FRONTEND=noninteractive PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 \
    NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
# The compiler is for Triton's and FlashInfer's kernels, which are built when first used.
RUN apt-get update \
 && apt-get install -y --no-install-recommends git make gcc g++ ca-certificates chromium-headless-shell \
 && rm -rf /var/lib/apt/lists/*

WORKDIR /artifact
COPY requirements/ requirements/
RUN python -m venv .venv \
 && .venv/bin/pip install -r requirements/gpu.lock.txt

COPY . .
RUN .venv/bin/pip install --no-deps -e .
# `make` uses this environment as it is instead of installing the CPU lock over it.
ENV PATH=/artifact/.venv/bin:$PATH PY=/artifact/.venv/bin/python
CMD ["make", "lab", "LAB_FLAGS=--ip 0.0.0.0"]
