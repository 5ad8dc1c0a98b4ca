"""Small dishonest files against the referee: what each of them tries is refused in one sentence, or does no good.

Each file is a defense that wants more than the messages, or to do harm. It plays in a federation of the engine, as a
submission does; what it would gain shows in the model, what it breaks in the sentence of its cell.
"""

import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from bench.base import rng
from bench.data import load
from bench.federation.engine import Federation
from bench.federation.roles import byzantine_clients
from bench.federation.settings import FederationSettings
from bench.submission.referee import party, walls
from bench.submission.referee.party import Code, end_all
from bench.submission.referee.proxies import stand_in
from defenses.fedavg import FedAvg

pytestmark = pytest.mark.integration

SETTINGS = FederationSettings(
    dataset="digits",
    clients=8,
    samples_per_client=20,
    rounds=2,
    local_steps=1,
    batch_size=10,
    lr=0.5,
    messages="always",
)
HEAD = """
import gc, os, signal, socket, subprocess, sys, time
import torch
from bench.protocol import Defense, Delivered, ServerRound, Upload

class Row(Defense):
    def aggregate(self, delivered, server):
        mean = server.global_model + delivered.messages.mean(dim=0)
"""
walled = pytest.mark.skipif(not walls.available(), reason="this system has no bubblewrap that may make namespaces")


@pytest.fixture(scope="module", autouse=True)
def _ended() -> Iterator[None]:
    yield
    end_all()


def row(folder: Path, text: str, *own: str) -> type[Any]:
    """The stand-in of a defense in a file."""
    file = folder / "row.py"
    file.write_text(text)
    facts = {"base": "defense", "version": 1, "parameters": {}, "own": ["aggregate", *own]}
    found = stand_in(Code(file, "row", "Row", "row"), facts)
    found.name = "row"
    return found


def server(folder: Path, body: str) -> type[Any]:
    """A defense whose server's side does this before it gives the mean."""
    lines = "".join(f"        {line}\n" for line in body.splitlines())
    return row(folder, HEAD + lines + "        return mean\n")


def model_of(defense: type[Any], **options: Any) -> Tensor:
    federation = Federation(SETTINGS, defense(), load("digits"), seed=3, **options)
    both_rounds(federation)
    return federation.global_model


def both_rounds(federation: Federation) -> None:
    for _ in range(SETTINGS.rounds):
        federation.advance()


LOOKS_AROUND = {
    "objects of the engine": """
for found in gc.get_objects():
    if type(found).__name__ in ("Federation", "Shards", "Dataset"):
        return mean * 0""",
    "frames of its callers": """
frame = sys._getframe()
while frame is not None:
    if "is_byzantine" in str(frame.f_locals.keys()) or "federation" in frame.f_locals:
        return mean * 0
    frame = frame.f_back""",
    "secrets of the environment": """
if "FEDSIEGE_TEST_SECRET" in os.environ or "GITHUB_TOKEN" in os.environ:
    return mean * 0""",
    "a tensor that is equal to everything": """
class Equal(torch.Tensor):
    def __eq__(self, other):
        return True
mean = mean.as_subclass(Equal)""",
}


@pytest.mark.parametrize("what", LOOKS_AROUND)
def test_what_looks_around_finds_nothing(what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDSIEGE_TEST_SECRET", "secret")
    model = model_of(server(tmp_path, LOOKS_AROUND[what].strip("\n")))
    assert type(model) is Tensor
    assert torch.equal(model, model_of(Mean))


class Mean(FedAvg):
    """The mean as the files above take it."""

    weighted = False

    def aggregate(self, delivered: Any, server: Any) -> Tensor:
        return server.global_model + delivered.messages.mean(dim=0)  # type: ignore[no-any-return]

    def message(self, updates: Tensor, weights: Tensor) -> Tensor:
        return updates


def test_a_server_is_told_the_layers_and_the_model(tmp_path: Path) -> None:
    """Softmax regression of 64 pixels: the weight (10, 64) and its bias; the model answers as the engine's own."""
    body = """
shapes = [(layer.name, layer.shape, layer.entries) for layer in server.layers]
if shapes != [("1.weight", (10, 64), slice(0, 640)), ("1.bias", (10,), slice(640, 650))]:
    raise ValueError(f"told {shapes}")
answers = server.model.logits(server.global_model, torch.ones(2, 1, 8, 8))
if answers.shape != (2, 10):
    raise ValueError(f"answered {tuple(answers.shape)}")"""
    assert torch.equal(model_of(server(tmp_path, body.strip("\n"))), model_of(Mean))


def test_what_clients_keep_aside_does_not_reach_the_server(tmp_path: Path) -> None:
    """Clean updates on the module, on the class and, where there are walls, in a file; next to nothing is sent.

    The server finds none of them. Without walls the sides share a file system, and the code is trusted.
    """
    place = f"/tmp/fedsiege-{os.getpid()}" if walls.available() else "/dev/null/none"
    text = HEAD + (
        "        kept = KEPT or getattr(Row, 'kept', None) or (['x'] if os.path.exists(PLACE) else [])\n"
        "        return mean if not kept else mean + 1\n"
        "    def upload(self, local):\n"
        "        KEPT.append(local.updates)\n"
        "        Row.kept = [local.updates]\n"
        "        try:\n"
        "            open(PLACE, 'w').write('x')\n"
        "        except OSError:\n"
        "            pass\n"
        "        return Upload(1e-30 * local.updates)\n"
        f"KEPT, PLACE = [], {place!r}\n"
    )
    first = Federation(SETTINGS, FedAvg(), load("digits"), seed=3).global_model
    assert torch.allclose(model_of(row(tmp_path, text, "upload")), first, rtol=0, atol=1e-20)


HARM = {
    "ends its process": ("os._exit(3)", "the process of the server of row ended during aggregate"),
    "kills its parent": ("os.kill(os.getppid(), signal.SIGKILL); time.sleep(30)", "ended during aggregate"),
    "never comes back": ("while True: pass", "the server of row has not done aggregate after 3 seconds"),
    "colours the verdict": (
        "raise RuntimeError('\\x1b[2J\\x1b[31mverified\\x07\\n' * 3)",
        "RuntimeError in the server of row",
    ),
    "gives another shape": ("mean = mean[:3]", "aggregate gave (3,), not (650,)"),
    "gives another type": ("mean = mean.double()", "returned torch.float64, not torch.float32"),
    "keeps too much": ("server.memory['x'] = torch.zeros(10**8)", "bytes of numbers, where"),
    "sends what is no header": (
        "h = sys.modules['__main__']\nh.send = lambda end, header: end.sendall(b'[1, 2')",
        "what it sent is no header",
    ),
    "speaks of numbers beyond its memory": (
        "h = sys.modules['__main__']\n"
        'h.send = lambda end, header: end.sendall(b\'{"tensors": [["model", "float32", [650000000]]]}\')',
        "reaches beyond the shared memory",
    ),
}


@pytest.mark.parametrize("what", HARM)
def test_harm_ends_in_one_sentence_of_its_own_row(what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    body, words = HARM[what]
    federation = Federation(SETTINGS, server(tmp_path, body)(), load("digits"), seed=3)
    played: Any = federation._sides.server
    played._call("ask", method="num_root_samples", arguments=[])  # its process is there
    if what == "never comes back":
        monkeypatch.setattr(party, "SECONDS", 3.0)
    played._party._end.settimeout(party.SECONDS)
    with pytest.raises((RuntimeError, ValueError)) as told:
        both_rounds(federation)
    monkeypatch.undo()
    assert words in str(told.value)
    assert str(told.value).isprintable()
    end_all()
    assert torch.equal(model_of(server(tmp_path, "pass")), model_of(Mean))  # the next one plays as ever


def test_a_server_trains_on_few_images_of_its_own(tmp_path: Path) -> None:
    text = HEAD + "        return mean\n    def num_root_samples(self):\n        return 300\n"
    with pytest.raises(ValueError, match="num_root_samples is 300, but must be at most 100"):
        model_of(row(tmp_path, text, "num_root_samples"))


@walled
def test_behind_the_walls_there_is_no_network_no_data_and_nothing_to_write_to(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        around = (*walls.SYSTEM, "/dev", "/proc", "/tmp", sys.prefix, sys.base_prefix, walls.ROOT, tmp_path)
        seen = ", ".join(repr(Path(one).parts[1]) for one in around)
        body = f"""
import sklearn.datasets
SEEN = {{{seen}}}
def works(what):
    try:
        what()
    except Exception:
        return False
    return True
tried = [
    works(lambda: socket.create_connection(("127.0.0.1", {port}), 1)),
    works(lambda: open("/tmp/fedsiege-test", "w").write("x")),
    works(lambda: open("/dev/shm/fedsiege-test", "w").write("x")),
    works(lambda: open({str(Path.cwd() / "fedsiege-test")!r}, "w").write("x")),
    works(sklearn.datasets.load_digits),
    len([name for name in os.listdir("/proc") if name.isdigit()]) > 4,
    os.path.exists({str(walls.ROOT / "results")!r}),
    {str(Path.home())!r} != "/root" and os.path.exists({str(Path.home() / ".ssh")!r}),
    not set(os.listdir("/")) <= SEEN,
    os.path.exists({str(tmp_path.parent)!r}) and len(os.listdir({str(tmp_path.parent)!r})) > 1,
]
mean = mean * 0 + sum(2**place for place, worked in enumerate(tried) if worked)"""
        assert float(model_of(server(tmp_path, body.strip("\n")))[0]) == 0.0


def test_a_party_starts_no_process(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="PermissionError in the server of row"):
        model_of(server(tmp_path, "subprocess.Popen(['sleep', '20'], start_new_session=True)"))


def test_a_public_seed_tells_nothing_of_a_salted_world() -> None:
    """Who is Byzantine follows from the seed and the salt; so does every other draw, and no split of the data."""
    settings = SETTINGS.model_copy(update={"clients": 40})
    public, digest = byzantine_clients(settings, 0.25, 0), load("digits").digest
    with rng.salted("0f" * 16):
        salted = byzantine_clients(settings, 0.25, 0)
        assert load("digits").digest == digest
    with rng.salted("1e" * 16):
        other = byzantine_clients(settings, 0.25, 0)
    assert len({tuple(found.tolist()) for found in (public, salted, other)}) == 3
    assert torch.equal(byzantine_clients(settings, 0.25, 0), public)


def test_a_generator_does_not_tell_the_seed_that_it_was_made_of(tmp_path: Path) -> None:
    """A server that draws the clients' mask from its generator's own seed hits it no better than chance."""
    body = (
        "from bench.base import rng\n"
        "guess = rng.shuffled(8, rng.generator(server.generator.initial_seed(), 'byzantine', device='cpu'))\n"
        "mean = mean * 0 + sum(2.0**int(k) for k in guess[:2])"
    )
    with rng.salted("2d" * 16):
        found = float(model_of(server(tmp_path, body))[0])
        mask = byzantine_clients(SETTINGS, 0.25, 3)
    assert found != sum(2.0**k for k in mask.nonzero()[:, 0].tolist())
