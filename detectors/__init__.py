"""The bundled detectors, one folder each: ``detector.py``, ``detector.toml``, ``requirements.txt``, ``README.md``."""
