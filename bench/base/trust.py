"""The variable that says that somebody has read the submitted files and trusts them; no import, so that it costs none."""

TRUST = "FEDSIEGE_TRUST"
"""Set to 1, as `--trust` does: submitted code is played also where nothing holds it back."""
