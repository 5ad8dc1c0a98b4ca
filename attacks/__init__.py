"""The attacks, one a file; each sees only what its threat model grants."""
