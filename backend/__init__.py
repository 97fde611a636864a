"""The back-end: watcher, dispatcher, engine, pipeline, workers, media pass, report. Never imports the front-end."""
