"""Rules pass both ways: what is benchmarked here runs in another's system, and another library's rule is a row here."""
