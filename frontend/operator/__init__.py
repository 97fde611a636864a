"""The operator's side of the portal: metrics, access log, the page behind a token, and the pause of the intake.

Nothing here shows anything of a visitor: counts, codes, sizes and shortened ids only. Entry: ``office.init_operator``, called by
``create_app``. What the back-end says of itself comes through the shared folders (``shared.desk``). For the front-end only.
"""
