"""A small real federation on this machine: ten client processes over Flower's gRPC, two hostile, a curious server.

    pip install 'fedsiege[flower]'
    python docs/examples/flower_federation/federation.py

Each run starts a server process and ten client processes that speak over loopback. They train softmax regression on
the digits. Client 8 sends its model flipped and stretched (model flipping), client 9 what ALIE makes of its own updates
and of client 8's share of the data, which the two hold together. In the first round every client trains on one image,
and the server, which follows the protocol, works that image out of what each client sent.

Three runs: Flower's FedAvg; nearest-neighbour mixing and the trimmed mean of FedSiege; the same with clients that clip
and add noise to what they send, as the rows with DP do. A line a run: the accuracy, and how many of the eight honest
clients' pictures came back (PSNR of 20 dB and more).
"""

import argparse
import json
import subprocess
import sys
import time
import warnings
from pathlib import Path
from socket import AF_INET, SOCK_STREAM, socket
from tempfile import TemporaryDirectory
from typing import Any

CLIENTS, FLIPPER, TIMID, ROUNDS = 10, 8, 9, 20
LR, STEPS, BATCH = 0.5, 5, 32
STRETCH = 12.0
"""How far client 8 stretches its flipped model: more than the nine others hold together."""

CLIP, NOISE = 1.0, 0.1
"""Of clients that protect themselves: the norm of an update, and the deviation of the noise on each entry."""

PATIENCE = 900
"""Seconds that a run may take on a machine that does other things too; left alone it takes some twenty."""

RUNS = {
    "FedAvg of Flower": ("fedavg", False),
    "FedSiege: nnm before trimmed_mean, f = 2": ("nnm", False),
    "the same, clients clip and add noise": ("nnm", True),
}


# ------------------------------------------------------------------------------------------------------------ everyone


def write_images(path: Path) -> None:
    """The digits, in [0, 1] and shuffled, for all processes, so that each need not load scikit-learn."""
    import numpy as np
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(x))
    np.savez(path, x=(x[order] / 16).astype(np.float32), y=y[order])


def images(path: Path) -> tuple[Any, Any, Any, Any]:
    """Training images `(n, 64)` and labels, then those of the test."""
    import numpy as np

    with np.load(path) as found:
        x, y = found["x"], found["y"]
    return x[:1400], y[:1400], x[1400:], y[1400:]


def gradient(weight: Any, bias: Any, x: Any, y: Any) -> tuple[Any, Any]:
    """Of the cross-entropy of softmax regression: `(10, 64)` and `(10,)`."""
    import numpy as np

    scores = x @ weight.T + bias
    shares = np.exp(scores - scores.max(axis=1, keepdims=True))
    shares /= shares.sum(axis=1, keepdims=True)
    shares[np.arange(len(y)), y] -= 1
    return (shares.T @ x / len(y)).astype(np.float32), shares.mean(axis=0).astype(np.float32)


# -------------------------------------------------------------------------------------------------------------- client


def client(number: int, address: str, data: Path, protects: bool) -> None:
    """A process of its own: trains when asked, and answers with its model, or with what an attacker sends."""
    import flwr
    import numpy as np

    x, y, _, _ = images(data)
    draws = np.random.default_rng(100 + number)
    mine = np.arange(number, len(x), CLIENTS)
    both = np.concatenate([np.arange(other, len(x), CLIENTS) for other in (FLIPPER, TIMID)])

    def trained(layers: list[Any], held: Any, steps: int, batch: int) -> list[Any]:
        weight, bias = (layer.copy() for layer in layers)
        for _ in range(steps):
            rows = draws.choice(held, batch, replace=False)
            by_weight, by_bias = gradient(weight, bias, x[rows], y[rows])
            weight -= LR * by_weight
            bias -= LR * by_bias
        return [weight, bias]

    def hostile(layers: list[Any]) -> list[Any]:
        if number == FLIPPER:
            return [-STRETCH * layer for layer in trained(layers, mine, STEPS, BATCH)]
        several = [trained(layers, both, STEPS, BATCH) for _ in range(6)]
        return [np.mean(layer, axis=0) - 1.5 * np.std(layer, axis=0) for layer in zip(*several, strict=True)]

    class Client(flwr.client.NumPyClient):  # type: ignore[misc]
        """What Flower asks of a client."""

        def fit(self, parameters: list[Any], config: dict[str, Any]) -> tuple[list[Any], int, dict[str, Any]]:
            first = config["round"] == 1
            if number in (FLIPPER, TIMID) and not first:
                return [layer.astype(np.float32) for layer in hostile(parameters)], len(mine), {"client": number}
            found = trained(parameters, mine[:1], 1, 1) if first else trained(parameters, mine, STEPS, BATCH)
            if protects:
                update = [new - old for new, old in zip(found, parameters, strict=True)]
                norm = float(np.sqrt(sum(float((layer**2).sum()) for layer in update)))
                scale = min(1.0, CLIP / max(norm, 1e-12))
                noisy = [scale * layer + draws.normal(0, NOISE, layer.shape) for layer in update]
                found = [(old + layer).astype(np.float32) for old, layer in zip(parameters, noisy, strict=True)]
            return found, len(mine), {"client": number}

    flwr.client.start_client(server_address=address, client=Client().to_client())


# -------------------------------------------------------------------------------------------------------------- server


def server(address: str, rule: str, data: Path, out: Path) -> None:
    """A process of its own: aggregates, and looks at what it gets."""
    import flwr
    import numpy as np

    _, _, x, y = images(data)
    start = [np.zeros((10, 64), dtype=np.float32), np.zeros(10, dtype=np.float32)]
    seen: dict[str, Any] = {"accuracy": [], "pictures": {}}
    base: Any = flwr.server.strategy.FedAvg
    if rule != "fedavg":
        from bench.flower import FitStrategy

        base = FitStrategy

    class Curious(base):  # type: ignore[misc]
        """Aggregates as its base does, and keeps the picture that each client's first answer gives away."""

        def aggregate_fit(self, server_round: int, results: Any, failures: Any) -> Any:
            if server_round == 1:
                for _, answer in results:
                    sent = flwr.common.parameters_to_ndarrays(answer.parameters)
                    update = [new - old for new, old in zip(sent, start, strict=True)]
                    row = int(np.argmax(np.abs(update[1])))  # of one image the weights' row is the bias times it
                    seen["pictures"][int(answer.metrics["client"])] = (update[0][row] / update[1][row]).tolist()
            return super().aggregate_fit(server_round, results, failures)

    def evaluate(server_round: int, layers: list[Any], config: Any) -> tuple[float, dict[str, Any]]:
        weight, bias = layers
        accuracy = float(((x @ weight.T + bias).argmax(axis=1) == y).mean())
        seen["accuracy"].append(accuracy)
        return 1 - accuracy, {}

    options: dict[str, Any] = {
        "min_fit_clients": CLIENTS,
        "min_available_clients": CLIENTS,
        "fraction_evaluate": 0.0,
        "min_evaluate_clients": 0,
        "evaluate_fn": evaluate,
        "on_fit_config_fn": lambda server_round: {"round": server_round},
        "initial_parameters": flwr.common.ndarrays_to_parameters(start),
    }
    strategy = Curious(**options) if rule == "fedavg" else Curious(rule, rule="trimmed_mean", f=2, **options)
    flwr.server.start_server(
        server_address=address, config=flwr.server.ServerConfig(num_rounds=ROUNDS), strategy=strategy
    )
    out.write_text(json.dumps(seen), encoding="utf-8")


# ------------------------------------------------------------------------------------------------------- the federation


def free_address() -> str:
    """A port of this machine that nobody listens on."""
    with socket(AF_INET, SOCK_STREAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


def await_server(address: str, process: "subprocess.Popen[bytes]") -> None:
    """Return as soon as the server listens, or has ended."""
    host, port = address.split(":")
    end = time.monotonic() + PATIENCE
    while process.poll() is None and time.monotonic() < end:
        with socket(AF_INET, SOCK_STREAM) as probe:
            if probe.connect_ex((host, int(port))) == 0:
                return
        time.sleep(0.2)


def played(rule: str, protects: bool, log: Path) -> dict[str, Any]:
    """One federation: eleven processes; what the server saw. Raises `RuntimeError` where the server fails."""
    data, out = log / "digits.npz", log / "seen.json"
    address, here = free_address(), [sys.executable, __file__, "--data", str(data)]
    out.unlink(missing_ok=True)
    with (log / "log.txt").open("ab") as sink:
        quiet: dict[str, Any] = {"stdout": sink, "stderr": sink}
        first = subprocess.Popen([*here, "--server", address, "--rule", rule, "--out", str(out)], **quiet)
        await_server(address, first)
        said = ["--protects"] * protects
        others = [
            subprocess.Popen([*here, "--client", str(number), "--at", address, *said], **quiet)
            for number in range(CLIENTS)
        ]
        try:
            first.wait(timeout=PATIENCE)
        finally:
            for process in (first, *others):
                process.terminate()
                process.wait()
    if not out.exists():
        raise RuntimeError(f"the server ended without an answer; its log: {log / 'log.txt'}")
    found: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
    return found


def psnr(one: Any, other: Any) -> float:
    """Of two pictures in [0, 1], in dB, at most 100."""
    import numpy as np

    error = float(np.square(np.clip(one, 0, 1) - other).mean())
    return min(100.0, -10 * float(np.log10(max(error, 1e-10))))


def drawn(picture: Any) -> list[str]:
    """A picture as eight lines of text."""
    import numpy as np

    shades = " .:-=+*#%@"
    grid = np.clip(np.asarray(picture).reshape(8, 8), 0, 1)
    return ["".join(2 * shades[min(9, int(10 * value))] for value in line) for line in grid]


def main() -> None:
    """All three runs, a line each, and one client's picture as it was and as it came back."""
    import numpy as np

    started = time.monotonic()
    with TemporaryDirectory() as folder:
        write_images(Path(folder) / "digits.npz")
        x, _, _, _ = images(Path(folder) / "digits.npz")
        shown = [drawn(x[0])]
        for told, (rule, protects) in RUNS.items():
            seen = played(rule, protects, Path(folder))
            honest = [number for number in range(CLIENTS) if number not in (FLIPPER, TIMID)]
            found = {number: np.array(seen["pictures"][str(number)]) for number in honest}
            back = sum(psnr(picture, x[number]) >= 20 for number, picture in found.items())
            shown.append(drawn(found[0]))
            print(
                f"{told}: accuracy {seen['accuracy'][-1]:.0%}, {back} of {len(honest)} pictures came back", flush=True
            )
    print("\nclient 0's image, and what the server made of its first answer in the three runs:\n")
    for parts in zip(*shown, strict=True):
        print("   ".join(parts))
    print(f"\n{3 * (CLIENTS + 1)} processes in {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    warnings.simplefilter("ignore", DeprecationWarning)
    parser = argparse.ArgumentParser()
    parser.add_argument("--server")
    parser.add_argument("--rule")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--client", type=int)
    parser.add_argument("--at")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--protects", action="store_true")
    given = parser.parse_args()
    if given.server:
        server(given.server, given.rule, given.data, given.out)
    elif given.client is not None:
        client(given.client, given.at, given.data, given.protects)
    else:
        main()
