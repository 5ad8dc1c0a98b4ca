"""The defenses, one a file; each file reads like the paper that it implements."""

import bench  # noqa: F401, sets the arithmetic before torch is imported
