# The GPU environment: Python 3.11, the resolved lock with hashes, a Chrome-family browser for PNG figures.
#   docker build -t spurious-rewards .
#   docker run --rm --gpus all --ipc host --user "$(id -u):$(id -g)" -v "$PWD/runs:/artifact/runs" \
#     -v "$PWD/results:/artifact/results" -v spurious-cache:/cache -e HF_TOKEN spurious-rewards make reproduce PROFILE=paper
#   docker run --rm --gpus all --ipc host -p 127.0.0.1:8888:8888 -v spurious-cache:/cache spurious-rewards
# JupyterLab prints its address with a token; -e JUPYTER_TOKEN=... sets one. HF_TOKEN is for gated models (Llama).
# CUDA 13 comes with the pinned wheels, so that one lock decides it; the host brings the NVIDIA container toolkit and a
# driver of version 580 or newer (`make doctor`).
# Not built or run by us yet: no Docker daemon and no GPU where this was written. For the same reason the base image has
# no digest: pin it with --build-arg BASE=python:3.11-slim-bookworm@sha256:...
ARG BASE=python:3.11-slim-bookworm
FROM ${BASE}

ENV DEBIAN_FRONTEND=noninteractive PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 \
    NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
# The compiler is for Triton's and FlashInfer's kernels, which are built when first used.
RUN apt-get update \
 && apt-get install -y --no-install-recommends git make gcc g++ ca-certificates chromium-headless-shell tini \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --create-home artifact \
 && mkdir -p /artifact /cache \
 && chown artifact: /artifact && chmod 1777 /cache
USER artifact

WORKDIR /artifact
COPY --chown=artifact requirements/ requirements/
RUN python -m venv .venv \
 && .venv/bin/pip install --require-hashes -r requirements/gpu.lock.txt

COPY --chown=artifact . .
RUN .venv/bin/pip install --no-deps -e .
# `make` uses this environment as it is instead of installing the CPU lock over it. Models stay in the volume.
ENV PATH=/artifact/.venv/bin:$PATH PY=/artifact/.venv/bin/python XDG_CACHE_HOME=/cache
VOLUME /cache
HEALTHCHECK --interval=5m --timeout=1m CMD ["python", "-m", "spurious_rewards.workflow.doctor"]
# tini passes `docker stop` on, so that notebooks end in order and trainings write a checkpoint.
ENTRYPOINT ["tini", "-g", "--"]
CMD ["make", "lab", "LAB_FLAGS=--ip 0.0.0.0"]
