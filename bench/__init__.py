"""FedSiege's engine: everything that all cells of the attack-and-defense matrix share."""

__version__ = "0.1.0"
