# The ground of all worker images: Debian's Python with numpy, torch (for CPUs, or with CUDA), OpenVINO, OpenCV, Pillow, h5py and safetensors
# (docker/base.txt). Nothing of ours. Built by `make images` (docker/build.py), which puts into the context wheels/ (resolved on
# the host against requirements.lock, so that the build needs no package index) and ca.pem (may be empty).
ARG DEBIAN=debian:bookworm-slim
FROM ${DEBIAN} AS build
LABEL org.deepfake-o-meter.stage=base
COPY ca.pem /ca.pem
# an environment of its own, /opt/worker: later images add to it with `pip --prefix`, Debian's own Python stays as it is
RUN set -eu; \
    ca=""; [ ! -s /ca.pem ] || ca="-o Acquire::https::CAInfo=/ca.pem"; \
    apt-get $ca update -qq; \
    DEBIAN_FRONTEND=noninteractive apt-get $ca install -qq -y --no-install-recommends python3 >/dev/null; \
    python3 -m venv --without-pip /opt/worker
COPY . /context
RUN set -eu; \
    # pip runs out of its own wheel and is never installed
    /opt/worker/bin/python "$(echo /context/pip/pip-*.whl)/pip" install -q --no-cache-dir --disable-pip-version-check \
        --no-index --no-deps --no-compile /context/wheels/*.whl; \
    cd /opt/worker/lib/python3.11/site-packages; \
    # headers, static libraries and test programs: nothing that Python imports (torch_shm_manager is looked up on import)
    rm -rf torch/include torch/share torch/test torch/lib/*.a openvino/include openvino/cmake; \
    find torch/bin -type f ! -name torch_shm_manager -delete; \
    find numpy sympy networkx -type d -name tests -prune -exec rm -rf {} +; \
    # the root is read-only at run time: bytecode is written now, never checked against its source again.
    # A few files are templates and no Python: compileall says so by its exit status and goes on.
    /opt/worker/bin/python -m compileall -qq -j 0 --invalidation-mode unchecked-hash . || true
RUN set -eu; \
    rm -rf /context /ca.pem /var/lib/apt/lists/* /var/cache/apt/* /var/cache/debconf/*-old /var/log/* /root/.cache /tmp/* \
        /usr/share/man /usr/share/info /usr/share/locale; \
    find /usr/share/doc -type f ! -name copyright -delete; \
    # no program gains rights by being run
    find / -xdev -type f -perm /6000 -exec chmod a-s {} +; \
    mkdir -p /app /exchange /weights

# one layer without what was deleted above
FROM scratch
COPY --from=build / /
# HOME: libraries that look for a cache find the only writable place. THP: eager torch gets slower with the batch without it.
ENV PATH=/opt/worker/bin:/usr/bin:/bin LANG=C.UTF-8 HOME=/tmp PYTHONPATH=/app PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 \
    THP_MEM_ALLOC_ENABLE=1
WORKDIR /app
USER 65534:65534
