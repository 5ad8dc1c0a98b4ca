"""Records to ranked tables, and the tables to Markdown, CSV, LaTeX and JSON."""
