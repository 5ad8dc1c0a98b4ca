"""How a rule of the contract says what it found."""


class BrokenError(Exception):
    """The rule is broken, in one sentence without its full stop."""


class Note(Exception):  # noqa: N818  it is no error
    """Nothing is broken, but a reader should know."""
