"""From tasks to records: what is to run, workers, a cluster."""
