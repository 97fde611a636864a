"""``report.pdf``: the report to hand on. ``document.write_pdf`` makes it."""
