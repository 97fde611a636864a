"""Many files in one go: the same pipeline, rows in shards instead of a report each, resumable, each content judged once (docs/batch.md).

Start reading at ``run.py``. May be imported by the commands.
"""
