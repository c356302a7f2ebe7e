# One image for every service of compose.yaml: the package, and what Dagster reads beside it.
FROM python:3.11.13-slim-bookworm

ENV PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1

# Packages for storage and launchers beyond this machine, such as "s3fs dagster-k8s".
ARG PACKAGES=""

WORKDIR /source
COPY pyproject.toml constraints.txt README.md LICENSE dagster.yaml workspace.yaml ./
COPY sql ./sql
COPY quant_mlops ./quant_mlops
RUN pip install -c constraints.txt . ${PACKAGES} && rm -rf /source

RUN useradd --uid 10001 --create-home --home-dir /srv/quant_mlops quant_mlops
USER quant_mlops
WORKDIR /srv/quant_mlops

# Volumes take the owner of the folder they are mounted on, so it must exist.
RUN mkdir -p home dagster/storage work
COPY --chown=quant_mlops dagster.yaml ./dagster/dagster.yaml
# The web server and the daemon hold no code of a strategy; they ask the code server for it.
RUN printf '%s\n' \
    'load_from:' \
    '  - grpc_server:' \
    '      host: code' \
    '      port: 4000' \
    '      location_name: quant_mlops' > workspace.yaml

ENV QUANT_MLOPS_HOME=/srv/quant_mlops/home \
    DAGSTER_HOME=/srv/quant_mlops/dagster
CMD ["quant-mlops", "--help"]
