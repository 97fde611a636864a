# The ground of all worker images: Debian, Python, numpy, torch for CPUs, OpenVINO, OpenCV, Pillow. Nothing of ours.
# Built by `make images` (backend/images.py), which prepares the context: wheels/ (torch, pip), constraints.txt and, where
# the machine has one, a CA bundle. The first stage holds all of that; the last one copies the finished root file system.
ARG DEBIAN=debian:bookworm-slim
FROM ${DEBIAN} AS build
ARG CA_BUNDLE=""
COPY . /context
# Debian's Python in an environment of its own, /opt/worker, so that later stages add to it with `pip --prefix`.
RUN set -eu; \
    ca=""; [ -z "$CA_BUNDLE" ] || ca="-o Acquire::https::CAInfo=/context/$CA_BUNDLE"; \
    apt-get $ca update -qq; \
    DEBIAN_FRONTEND=noninteractive apt-get $ca install -qq -y --no-install-recommends python3 >/dev/null; \
    python3 -m venv --without-pip /opt/worker
RUN set -eu; \
    [ -z "$CA_BUNDLE" ] || export PIP_CERT="/context/$CA_BUNDLE"; \
    pip="/opt/worker/bin/python $(echo /context/wheels/pip-*.whl)/pip"; \
    $pip install --no-cache-dir --disable-pip-version-check -q -c /context/constraints.txt \
        /context/wheels/torch-*.whl numpy openvino opencv-python-headless pillow; \
    cd /opt/worker/lib/python3.11/site-packages; \
    # headers, static libraries and test programs: nothing that Python imports (torch_shm_manager is looked up on import)
    rm -rf torch/include torch/share torch/test torch/lib/*.a openvino/include openvino/cmake; \
    find torch/bin -type f ! -name torch_shm_manager -delete; \
    for package in numpy sympy networkx; do find "$package" -type d -name tests -prune -exec rm -rf {} +; done; \
    # openvino_telemetry reports each import over the network; openvino falls back to a stub without it
    rm -rf openvino_telemetry openvino_telemetry-*
RUN set -eu; \
    rm -rf /context /var/lib/apt/lists/* /var/cache/apt/* /var/cache/debconf/*-old /var/log/* /root/.cache /tmp/* \
        /usr/share/man /usr/share/info /usr/share/locale; \
    find /usr/share/doc -type f ! -name copyright -delete; \
    # no program gains rights by being run
    find / -xdev -type f -perm /6000 -exec chmod a-s {} +; \
    mkdir -p /app /exchange /weights

FROM scratch
COPY --from=build / /
ENV PATH=/opt/worker/bin:/usr/bin:/bin LANG=C.UTF-8 PYTHONPATH=/app
WORKDIR /app
USER 65534:65534
ENTRYPOINT ["/opt/worker/bin/python"]
