"""What a result page draws over time, as SVG made here: curves, lanes, shots, wave form, and the table of the same numbers.

Everything is there without a script; ``static/timeline.js`` adds playhead, read-out, zoom, legend and keys. ``chart`` reads the report's
``curves.json``, ``choice`` says of whom, ``drawn`` is what a template gets, ``views`` answers the script.
"""
