"""The referee: submitted code plays in processes of its own; engine, data and records stay out of its reach.

The engine is the trusted process. A submitted defense runs as up to three others, one for each party: its clients'
side, its channel and its server's side; a submitted attack runs as one more. They get and give plain bytes: a small
header of JSON, and numbers in shared memory. No object, pickle or class passes. `docs/submitting.md` says what that
keeps out, and what remains possible.
"""
