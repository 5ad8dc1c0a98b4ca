"""Fills its memory while it is imported."""

KEPT = []
while True:
    KEPT.append(bytearray(b"x" * 2**24))
