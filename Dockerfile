# One image for the agent, the workers and the DFT launcher; docker-compose.yml says which command each runs.
FROM python:3.11-slim-bookworm AS base

ENV PYTHONUNBUFFERED=1 \
    PIP_NO_CACHE_DIR=1 \
    OMP_NUM_THREADS=1 \
    MKL_NUM_THREADS=1 \
    OPENBLAS_NUM_THREADS=1

RUN apt-get update \
    && apt-get install -y --no-install-recommends \
        g++ make libcurl4 libfftw3-dev libopenblas-dev libxc-dev \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /app
COPY pyproject.toml constraints.txt README.md ./
COPY discovery discovery
COPY agents agents
COPY model model
COPY db db
COPY configs configs
COPY tools tools
RUN pip install "$(grep '^torch==' constraints.txt)" \
    && sh tools/install-deepmd.sh python \
    && CC=g++ CXX=g++ pip install --constraint constraints.txt '.[dft,openlam]'

RUN useradd --create-home --uid 1000 discovery \
    && install -d -o discovery -g discovery /var/lib/discovery
USER discovery
ENV DISCOVERY_HOME=/var/lib/discovery
WORKDIR /var/lib/discovery
ENTRYPOINT ["discovery"]
CMD ["--help"]
