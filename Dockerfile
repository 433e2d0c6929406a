# gpurec as a container image: docs/how-to/image.md
ARG BASE=docker.io/library/python:3.13-slim

FROM ${BASE} AS build
ARG PIP_NO_INDEX
ARG PIP_FIND_LINKS
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore PIP_NO_COMPILE=1 PIP_NO_DEPS=1 PIP_QUIET=1
WORKDIR /source
COPY . .
# what builds the wheel stays in this stage; bytecode that is never checked holds whatever becomes of the files' times
RUN python3 -m venv --without-pip /build \
 && python3 -m pip --python /build/bin/python install --only-binary :all: --require-hashes -r requirements/users.txt \
 && /build/bin/python -m hatchling build -t wheel -d /build/wheel \
 && python3 -m venv --without-pip /opt/gpurec \
 && python3 -m pip --python /opt/gpurec/bin/python install --only-binary :all: --require-hashes -r requirements/image.txt \
 && python3 -m pip --python /opt/gpurec/bin/python install --no-index /build/wheel/*.whl \
 && /opt/gpurec/bin/python -m compileall -q --invalidation-mode unchecked-hash /opt/gpurec/lib

FROM ${BASE}
LABEL org.opencontainers.image.title=gpurec org.opencontainers.image.licenses=Apache-2.0
COPY --from=build /opt/gpurec /opt/gpurec
ENV PATH=/opt/gpurec/bin:$PATH
USER 10001:10001
WORKDIR /workspace
ENTRYPOINT ["gpurec"]
