"""Submissions: code of others is packaged, run in a process of its own, held to the contract, recorded and verified."""
