"""From a task to its outcome, by the kind of its cell."""
