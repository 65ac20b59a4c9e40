# gradstream's own image: producers, KSQL engine, trainers, notebooks. Kafka, registry and ksqlDB have their own.
#
#   docker build -t gradstream:local-slim .
#   docker build -t gradstream:local-jax --build-arg BACKEND=jax .
#
# BACKEND is slim (NumPy and Numba), jax, tensorflow, torch or jupyter. BuildKit is not needed.
ARG PYTHON_IMAGE=python:3.13-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
ARG BACKEND=slim
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
# What is shipped has no pip in it: another environment's pip fills it.
RUN python3 -m venv /build && python3 -m venv --without-pip /opt/gradstream
WORKDIR /src
COPY requirements requirements
RUN test -f requirements/images/$BACKEND.txt || { \
      echo "BAD_BACKEND: --build-arg BACKEND=$BACKEND; give slim, jax, tensorflow, torch or jupyter"; exit 78; }; \
    /build/bin/pip --python /opt/gradstream/bin/python install --quiet \
      --require-hashes --only-binary :all: -r requirements/images/$BACKEND.txt
# ksql's setup.py asks for pip's version, so for this step there is one.
RUN if test $BACKEND = jupyter; then \
      mkdir /lent && ln -s /build/lib/python3*/site-packages/pip /lent/pip && PYTHONPATH=/lent \
      /build/bin/pip --python /opt/gradstream/bin/python install --quiet \
        --require-hashes --no-binary ksql --no-deps --no-build-isolation -r requirements/ksql.txt; \
    fi
COPY pyproject.toml README.md LICENSE ./
COPY gradstream gradstream
COPY producers producers
COPY trainers trainers
COPY demo demo
COPY benchmarks benchmarks
COPY faults faults
COPY ksql ksql
COPY notebooks notebooks
COPY docker/jupyter_server_config.py docker/
# The tests and headers that libraries bring along are a tenth of the image, and nothing here runs or compiles them; but
# for PyTorch's and CUDA's, whose kernels are in part compiled when they are first used.
RUN pip="/build/bin/pip --python /opt/gradstream/bin/python" && \
    $pip install --quiet --no-deps --no-build-isolation . && \
    $pip uninstall --quiet --yes hatchling trove-classifiers pathspec && \
    cd /opt/gradstream/lib/python3*/site-packages && \
    find . -path ./torch -prune -o -path ./nvidia -prune -o \
      -type d \( -name tests -o -name include \) -prune -exec rm -rf {} + && \
    mkdir /notebooks && \
    if test $BACKEND = jupyter; then \
      cp /src/notebooks/*.ipynb /notebooks && \
      mkdir -p /opt/gradstream/etc/jupyter && \
      cp /src/docker/jupyter_server_config.py /opt/gradstream/etc/jupyter/; \
    fi

FROM ${PYTHON_IMAGE}
ENV PATH=/opt/gradstream/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    NUMBA_CACHE_DIR=/home/gradstream/.cache/numba
RUN useradd --uid 1000 --user-group --create-home --shell /usr/sbin/nologin gradstream && \
    install -d -o gradstream -g gradstream /home/gradstream/scratch
COPY --from=build /opt/gradstream /opt/gradstream
COPY --from=build --chown=1000:1000 /notebooks /home/gradstream/notebooks
USER gradstream
WORKDIR /home/gradstream
# Here, not in the first stage: Numba knows compiled loops by the time stamps of their sources, as they are in this image.
RUN python -m gradstream.wire
ENTRYPOINT ["gradstream"]
CMD ["--help"]
