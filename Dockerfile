# The GPU environment: CUDA runtime, Python 3.11, the resolved lock, a Chrome-family browser for PNG figures.
#   docker build -t spurious-rewards .
#   docker run --gpus all --ipc host -v "$PWD/runs:/artifact/runs" -v "$PWD/results:/artifact/results" \
#     spurious-rewards make reproduce PROFILE=paper
# Not built or run by us yet: no Docker daemon and no GPU where this was written.
FROM nvidia/cuda:13.0.1-runtime-ubuntu22.04

ENV DEBIAN_FRONTEND=noninteractive PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1
RUN apt-get update \
 && apt-get install -y --no-install-recommends git make gcc g++ python3.11 python3.11-venv python3.11-dev ca-certificates \
 && rm -rf /var/lib/apt/lists/*

WORKDIR /artifact
COPY requirements/ requirements/
RUN python3.11 -m venv .venv \
 && .venv/bin/pip install -r requirements/gpu.lock.txt

COPY . .
RUN .venv/bin/pip install --no-deps -e .
# `make` uses this environment as it is instead of installing the CPU lock over it.
ENV PATH=/artifact/.venv/bin:$PATH PY=/artifact/.venv/bin/python
CMD ["make", "lab"]
