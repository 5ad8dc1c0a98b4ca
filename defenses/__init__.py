"""The defenses, one a file; each file reads like the paper that it implements."""
