# The environment of the lock with JupyterLab on the notebooks; Binder builds it too, from this same file.
#
#   docker build --tag precise .
#   docker run --rm --publish 127.0.0.1:8888:8888 precise
#
# Packages come from the two locks and from nowhere else. `--build-arg TORCH_CPU_INDEX=ADDRESS`, an index with CPU
# builds of torch, makes the image 4 GB smaller; without it torch comes with its libraries for GPUs.
FROM python:3.11-slim

ARG TORCH_CPU_INDEX=""
ARG NB_USER=jovyan
ARG NB_UID=1000
RUN useradd --create-home --uid "${NB_UID}" "${NB_USER}" \
    && install --directory --owner "${NB_USER}" /srv/precise
WORKDIR /srv/precise

COPY requirements.lock requirements-cuda.lock ./
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN PIP_EXTRA_INDEX_URL="${TORCH_CPU_INDEX}" pip install --no-deps --require-hashes -r requirements.lock \
    && { pip check >/dev/null || pip install --no-deps --require-hashes -r requirements-cuda.lock; }

COPY --chown=${NB_UID} . .
RUN pip install --no-deps --no-build-isolation --editable .

# No rights beyond the own folder: a notebook is a program.
USER ${NB_USER}
EXPOSE 8888
CMD ["jupyter", "lab", "--ip=0.0.0.0", "--port=8888", "--no-browser", "notebooks"]
