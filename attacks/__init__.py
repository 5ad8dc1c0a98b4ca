"""The attacks, one a file; each sees only what its threat model grants."""

import bench  # noqa: F401, sets the arithmetic before torch is imported
