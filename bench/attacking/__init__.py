"""For authors of attacks: forged messages, poisoned data, inversions and their optimizer."""
