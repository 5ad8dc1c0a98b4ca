"""The field's mathematics of privacy: Gaussian mechanisms, composition, local randomizers."""
