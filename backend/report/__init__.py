"""The report: everything a visitor gets for one submission. Entry: ``backend.report.build.build_report``."""
