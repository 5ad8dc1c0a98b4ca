"""What knows nothing of federated learning: errors, names, files, locks, devices, generators, threads, memory."""
