# One worker image on top of another: Python packages beyond it (wheels/) and our own files (app/). Every image but the base is built
# with it; docker/build.py fills the context and appends the CMD, which is how the platform starts the worker. It serves
#   faces        base + dlib and its models: common to the media pass and to detectors of landmarks
#   decoder      faces + PyAV, SciPy, scikit-learn and MTCNN's weights
#   media        decoder + backend/media and what it imports of ours: the only image that opens media
#   links        decoder + yt-dlp: gets the clip of a page through a socket of the back-end; thrown away after one clip
#   <detector>   base or faces + base_detector.py, what the detector imports of ours and its own folder
# The first stage is thrown away: pip and the wheels never reach the image. The build runs without a network.
ARG BASE=deepfake-o-meter/base
FROM ${BASE} AS packages
LABEL org.deepfake-o-meter.stage=layer
USER 0:0
COPY . /context
RUN set -eu; \
    mkdir -p /added/opt/worker/lib /added/app; \
    if ls /context/wheels/*.whl >/dev/null 2>&1; then \
        python "$(echo /context/pip/pip-*.whl)/pip" install -q --no-cache-dir --disable-pip-version-check \
            --no-index --no-deps --no-compile --no-warn-script-location --prefix /added/opt/worker /context/wheels/*.whl; \
    fi; \
    # a library for Rust programs, which nothing here links
    find /added -name 'libc2pa_c.rlib' -delete; \
    find /added -type d \( -path '*/scipy/*/tests' -o -path '*/sklearn/*/tests' \) -prune -exec rm -rf {} +; \
    cp -r /context/app/. /added/app/; \
    # see base.Dockerfile: bytecode is written now
    python -m compileall -qq -j 0 --invalidation-mode unchecked-hash -s /added -p / /added || true; \
    chmod -R a+rX /added

FROM ${BASE}
COPY --from=packages /added/opt/worker/lib /opt/worker/lib
COPY --from=packages /added/app /app
