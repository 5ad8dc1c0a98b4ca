"""What there is to run, by kind, with a line each; nothing here imports torch."""

from bench import registry
from bench.base.errors import BadInputError
from bench.base.names import unknown
from bench.suite import loading as suite

DATASETS = {
    "digits": "1,797 grey 8x8 digits of scikit-learn; embedded, no download",
    "mnist": "70,000 grey 28x28 handwritten digits",
    "fashion-mnist": "70,000 grey 28x28 pieces of clothing",
    "cifar10": "60,000 coloured 32x32 photographs in 10 classes",
    "cifar100-sample": "100 coloured 32x32 photographs, one a class, for gradient inversion only",
}

MODELS = {
    "softmax": "softmax regression (DPBFL paper, section 5.2)",
    "mlp": "two hidden layers of 200 ReLU units (NISS paper, section VI-A)",
    "cnn": "two 5x5 convolutions and 512 dense units (NISS paper, section VI-A)",
    "cnn_small": "ByzFL's CNN for MNIST: two 5x5 convolutions without padding and 500 dense units",
    "lenet": "the sigmoid LeNet of DLG (Zhu et al. 2019)",
    "alexnet": "torchvision's AlexNet on images resized to 64 x 64 (DPBFL paper, figure 11)",
}

KINDS = ("defenses", "attacks", "datasets", "models", "suites")


def listing(kind: str | None = None) -> dict[str, dict[str, str]]:
    """Names and lines of one kind, or of all."""
    if kind is not None and kind not in KINDS:
        raise BadInputError(unknown("kind of thing to list", kind, KINDS))
    return {name: _entries(name) for name in ([kind] if kind else KINDS)}


def _entries(kind: str) -> dict[str, str]:
    if kind == "defenses":
        return registry.summaries("defense")
    if kind == "attacks":
        return registry.summaries("attack")
    return {"datasets": DATASETS, "models": MODELS}.get(kind) or suite.titles()
