"""What a class says of its methods, and whether a subclass that changed one of them has said it anew."""


def still_said(cls: type, word: str, *methods: str) -> bool:
    """Whether what `cls` says by `word` is about the `methods` that it has: no subclass of who said it changed one.

    Raises `StopIteration` where nobody in the line of `cls` has one of these names.
    """

    def place(name: str) -> int:
        return next(index for index, one in enumerate(cls.__mro__) if name in vars(one))

    return all(place(word) <= place(method) for method in methods)
