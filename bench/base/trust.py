"""The variable by which somebody says that they have read the submitted files and trust them; it imports nothing."""

TRUST = "FEDSIEGE_TRUST"
"""Set to 1, as `--trust` does: submitted code is played also where nothing holds it back."""
