"""ByzFL's side of `byzfl_comparison.py`: rounds of its DSGD loop through its public classes, timed.

Runs in an environment that has ByzFL and nothing of this project. Reads a case as JSON from its argument and prints the
seconds of every round as JSON. The round is that of ByzFL's own `benchmark/train.py`, its evaluation left out.
"""

import json
import sys
import time
from importlib.metadata import version
from typing import Any

import torch
from byzfl import ByzantineClient, Client, DataDistributor, Server
from byzfl.utils.misc import set_random_seed
from torch.utils.data import DataLoader, Dataset, Subset
from torchvision import datasets, transforms

NORMALISED = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.1307,), (0.3081,))])
MODELS = {"softmax": ("logreg_mnist", "CrossEntropyLoss"), "cnn_small": ("cnn_mnist", "NLLLoss")}
AGGREGATORS = {
    "mean": "Average",
    "median": "Median",
    "krum": "Krum",
    "multi_krum": "MultiKrum",
    "trimmed_mean": "TrMean",
}
TAKES_F = ("krum", "multi_krum", "trimmed_mean")


class Prepared(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """The images of a torchvision set as tensors in memory, transformed once; ByzFL's splitter reads `targets`."""

    def __init__(self, source: datasets.MNIST) -> None:
        mean, std = 0.1307, 0.3081
        self.x = (source.data.unsqueeze(1).float() / 255 - mean) / std
        self.targets = source.targets

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        return self.x[index], self.targets[index]


class Training:
    """Server, honest clients and the Byzantine one, as ByzFL's train.py sets them up."""

    def __init__(self, case: dict[str, Any], data: str) -> None:
        set_random_seed(case["seed"])
        honest, forged = case["clients"] - case["byzantine"], case["byzantine"]
        model, loss = MODELS[case["model"]]
        train = datasets.MNIST(root=data, train=True, transform=NORMALISED)
        test = datasets.MNIST(root=data, train=False, transform=NORMALISED)
        source = train if case["peer_data"] == "images" else Prepared(train)
        split = DataDistributor(
            {
                "data_distribution_name": "iid",
                "nb_honest": honest,
                "data_loader": Subset(source, list(range(len(source)))),
                "batch_size": case["batch_size"],
            }
        )
        common = {
            "model_name": model,
            "device": "cpu",
            "optimizer_name": "SGD",
            "learning_rate": case["lr"],
            "weight_decay": 0.0,
            "milestones": [],
            "learning_rate_decay": 1.0,
        }
        own = {
            "loss_name": loss,
            "LabelFlipping": False,
            "momentum": case["momentum"],
            "nb_labels": 10,
            "store_per_client_metrics": False,
        }
        self.clients = [Client({**common, **own, "training_dataloader": loader}) for loader in split.split_data()]
        parameters = {"f": forged} if case["aggregation"] in TAKES_F else {}
        aggregator = {"name": AGGREGATORS[case["aggregation"]], "parameters": parameters}
        self.server = Server(
            {
                **common,
                "test_loader": DataLoader(test, batch_size=128),
                "aggregator_info": aggregator,
                "pre_agg_list": [],
            }
        )
        self.byzantine = ByzantineClient({"name": "SignFlipping", "f": forged, "parameters": {}})
        self.broadcast()

    def broadcast(self) -> None:
        state = self.server.get_dict_parameters()
        for client in self.clients:
            client.set_model_state(state)

    def round(self) -> None:
        for client in self.clients:
            client.compute_gradients()
        honest = [client.get_flat_gradients_with_momentum() for client in self.clients]
        self.server.update_model_with_gradients(honest + self.byzantine.apply_attack(honest))
        self.broadcast()


def main(case: dict[str, Any], data: str) -> None:
    torch.set_num_threads(case["threads"])
    training = Training(case, data)
    start, seconds = training.server.get_flat_parameters().clone(), []
    for _ in range(case["warm_up"] + case["rounds"]):
        begin = time.perf_counter()
        training.round()
        seconds.append(time.perf_counter() - begin)
    moved = float((training.server.get_flat_parameters() - start).norm())
    versions = {name: version(name) for name in ("byzfl", "torch", "torchvision", "numpy")}
    print(json.dumps({"seconds": seconds[case["warm_up"] :], "moved": moved, "versions": versions}))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]), sys.argv[2])
