# Portal and back-end as one image, for the compose file and the clusters beside it. Build it in the checkout, of what is committed (the
# checkout's own .dockerignore keeps everything out of a context, and .gitattributes keeps it out of the archive):
#   git archive HEAD | docker build -f docker/deploy/service.Dockerfile -t deepfake-o-meter/service -
# The workers' images are built on the host, by `make images`: the back-end starts them through the host's engine.
FROM debian:bookworm-slim
RUN apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends \
        ca-certificates git make python3.11 python3.11-venv >/dev/null && rm -rf /var/lib/apt/lists/* && \
    useradd --uid 10001 --create-home dfom && mkdir -p /srv/dfom && chown dfom: /srv/dfom
COPY --chown=dfom . /opt/deepfake-o-meter
WORKDIR /opt/deepfake-o-meter
USER dfom
# `make cluster` is `make setup` and Ray: a few minutes, and about 4 GB with torch and OpenVINO
RUN make cluster
ENV PATH=/opt/deepfake-o-meter/.venv/bin:/usr/bin:/bin DFOM_DATA=/srv/dfom \
    MPLCONFIGDIR=/tmp/matplotlib
ENTRYPOINT ["deepfake-o-meter"]
CMD ["serve"]
