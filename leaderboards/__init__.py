"""Records to ranked tables, and the tables to Markdown, CSV, LaTeX and JSON."""

import bench  # noqa: F401, sets the arithmetic before torch is imported
