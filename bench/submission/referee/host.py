"""The other end: the process in which one party of a submitted defense, or a submitted attack, plays.

`python -m bench.submission.referee.host FD` imports torch and the bench once, and then forks one process for each party
of each cell that the engine asks for: none of the file's code runs before the fork, and everything that it has started
is killed before the next. It answers one call after the other and knows no more than what it is given.
"""

import array
import contextlib
import ctypes
import importlib.util
import os
import resource
import signal
import socket
import sys
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

import bench.attacking.forging
import bench.rules  # noqa: F401
from bench.attacking.poisoning import DataFacts
from bench.base.threads import blas_threads
from bench.data import Split
from bench.protocol import Alphabet, Delivered, LocalRound, ServerRound, Setting
from bench.submission.referee.calls import refuse_calls, refuse_processes
from bench.submission.referee.views import architecture_of, unpack
from bench.submission.referee.wire import MEMORY, WALLED, Arena, Header, Tensors, named, prefixed, receive, send
from bench.threat import ByzantineView, Game, PublicFacts, RoundView, View

NOT_DUMPABLE = 4, 0  # prctl.h: PR_SET_DUMPABLE, so that what it forks cannot look into it
DIE_WITH_PARENT = 1, signal.SIGKILL  # PR_SET_PDEATHSIG
LONGEST_ERROR = 300
MEBIBYTES, MAPPED, THREADS, DESCRIPTORS = 4096, 65536, 64, 256
"""What a party may hold, what it may map (torch maps more than it holds), what it may start and have open."""


def main() -> None:
    """Fork a party whenever the engine asks for one; end with it."""
    control = socket.socket(fileno=int(sys.argv[1]))
    _prctl(*NOT_DUMPABLE)
    torch.set_num_threads(1)
    blas_threads(1)  # looks for the libraries, once for all parties
    refuse_calls()
    while True:
        content, descriptors = _descriptors(control)
        if not content:
            return
        if content == b"alone":
            _kill_all_others()
        party = os.fork()
        if party == 0:
            control.close()
            _prctl(*DIE_WITH_PARENT)
            _limit()
            refuse_processes()
            os._exit(_serve(socket.socket(fileno=descriptors[0])))
        for descriptor in descriptors:
            os.close(descriptor)
        control.sendall(b"forked")


def _descriptors(control: socket.socket) -> tuple[bytes, list[int]]:
    result = array.array("i")
    content, ancillary, _, _ = control.recvmsg(16, socket.CMSG_LEN(4 * result.itemsize))
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            result.frombytes(data[: len(data) - len(data) % result.itemsize])
    return content, list(result)


def _kill_all_others() -> None:
    """End whatever an earlier party has left behind; behind walls that is every process there is but the first."""
    if WALLED in os.environ:
        with contextlib.suppress(ProcessLookupError):
            os.kill(-1, signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _limit() -> None:
    """What the kernel holds a party to: memory of its own, no files, no dumps, few threads and descriptors."""
    resource.setrlimit(resource.RLIMIT_DATA, (MEBIBYTES * 2**20,) * 2)
    resource.setrlimit(resource.RLIMIT_AS, (MAPPED * 2**20,) * 2)
    resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS,) * 2)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if WALLED in os.environ:  # elsewhere the user's other processes count as well
        resource.setrlimit(resource.RLIMIT_NPROC, (THREADS,) * 2)


def _prctl(option: int, value: int) -> None:
    ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def _serve(end: socket.socket) -> int:
    """Answer the engine's calls until it hangs up."""
    party = Party(end)
    while True:
        try:
            call = receive(end)
        except (EOFError, OSError):
            return 0
        try:
            send(end, party.answer(call))
        except (Exception, SystemExit) as error:
            told = " ".join(str(error).split())[:LONGEST_ERROR]
            send(end, {"raised": type(error).__name__[:80], "refusal": isinstance(error, ValueError), "told": told})


class Party:
    """One party: the object that the file's class makes, and the two arenas."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        self._given: Arena | None = None
        self._made: Arena | None = None
        self._object: Any = None

    def answer(self, call: Header) -> Header:
        """What a call gives."""
        step: Callable[..., Header] = getattr(self, f"do_{call['do']}")
        given: Tensors = {}
        if call.get("tensors"):
            assert self._given is not None
            given = self._given.read(call["tensors"])
        return step(call, given)

    def _reply(self, tensors: Tensors, **more: Any) -> Header:
        assert self._made is not None
        return {"tensors": self._made.write(tensors), **more}

    def do_arenas(self, call: Header, given: Tensors) -> Header:
        """New shared memory, whose descriptors come along."""
        descriptors = array.array("i")
        send(self._end, {"ready": True})
        _, ancillary, _, _ = self._end.recvmsg(16, socket.CMSG_LEN(2 * descriptors.itemsize))
        for _, _, data in ancillary:
            descriptors.frombytes(data)
        for old in (self._given, self._made):
            if old is not None:
                old.close()
        self._given, self._made = (Arena(one, size) for one, size in zip(descriptors, call["sizes"], strict=True))
        return {}

    def do_load(self, call: Header, given: Tensors) -> Header:
        """Import the file and build its class."""
        torch.set_num_threads(call["threads"])
        blas_threads(call["threads"]).__enter__()  # for good
        spec = importlib.util.spec_from_file_location(call["module"], call["file"])
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[call["module"]] = module
        spec.loader.exec_module(module)
        cls = getattr(module, call["class_name"])
        cls.name = call["name"]
        self._object = cls(**call["parameters"])
        return {}

    # ------------------------------------------------------------------------------------------------- a defense

    def do_ask(self, call: Header, given: Tensors) -> Header:
        """A fact of the defense in a setting: its claim, a noise level, bytes."""
        arguments = [Setting(**one) if isinstance(one, dict) else one for one in call["arguments"]]
        answer = getattr(self._object, call["method"])(*arguments)
        return {"answer": answer.model_dump(mode="json") if hasattr(answer, "model_dump") else answer}

    def do_message(self, call: Header, given: Tensors) -> Header:
        return self._reply({"messages": self._object.message(given["updates"], given["weights"])})

    def do_upload(self, call: Header, given: Tensors) -> Header:
        memory = named(given, MEMORY)
        local = LocalRound(
            index=call["index"],
            clients=given["clients"],
            setting=Setting(**call["setting"]),
            global_model=given["global_model"],
            updates=given["updates"],
            weights=given["weights"],
            generator=_generator(given["generator"]),
            mute=given.get("mute"),
            memory=memory,
        )
        upload = self._object.upload(local)
        peers: Tensors = {}
        if upload.peers is not None:
            for number, (messages, receivers) in enumerate(upload.peers.legs()):
                peers |= {f"peer.{number}.messages": messages, f"peer.{number}.receivers": receivers}
        drawn = {"generator": local.generator.get_state()}
        return self._reply({"messages": upload.messages, **drawn, **peers, **prefixed(memory, MEMORY)})

    def do_deliver(self, call: Header, given: Tensors) -> Header:
        generator = _generator(given["generator"])
        delivered = self._object.deliver(given["messages"], generator)
        messages = delivered.messages  # a shuffler draws when somebody looks
        senders = {} if delivered.senders is None else {"senders": delivered.senders}
        return self._reply({"rows": messages, "generator": generator.get_state(), **senders})

    def do_aggregate(self, call: Header, given: Tensors) -> Header:
        memory = named(given, MEMORY)
        server = ServerRound(
            index=call["index"],
            setting=Setting(**call["setting"]),
            global_model=given["global_model"],
            weights=given["weights"],
            generator=_generator(given["generator"]),
            root_update=given.get("root_update"),
            clients=given.get("clients"),
            memory=memory,
            **architecture_of(call),
        )
        model = self._object.aggregate(Delivered(given["rows"], given.get("senders")), server)
        return self._reply({"model": model, "generator": server.generator.get_state(), **prefixed(memory, MEMORY)})

    # -------------------------------------------------------------------------------------------------- an attack

    def do_forge(self, call: Header, given: Tensors) -> Header:
        memory = named(given, MEMORY)
        view = ByzantineView(
            own=given["own"],
            honest=given.get("honest"),
            broadcast=given["broadcast"],
            alphabet=Alphabet(call["alphabet"]),
            generator=_generator(given["generator"]),
            setting=Setting(**call["setting"]),
            memory=memory,
            names=given.get("names"),
            aggregate=self._imagine if call["omniscient"] else None,
            updates=given.get("updates"),
        )
        forged = self._object.forge(view)
        drawn = {"generator": view.generator.get_state()}
        return self._reply({"forged": forged, **drawn, **prefixed(memory, MEMORY)})

    def do_poison(self, call: Header, given: Tensors) -> Header:
        generator = _generator(given["generator"])
        x, y = self._object.poison(given["x"], given["y"], unpack(DataFacts, call["data"], given), generator)
        return self._reply({"x": x, "y": y, "generator": generator.get_state()})

    def do_goal(self, call: Header, given: Tensors) -> Header:
        goal = self._object.goal(Split(given["x"], given["y"]), unpack(DataFacts, call["data"], given))
        return {} if goal is None else self._reply({"x": goal.x, "y": goal.y})

    def do_estimates(self, call: Header, given: Tensors) -> Header:
        result = self._object.estimates(unpack(View, call["view"], given))
        return self._reply({str(place): estimate for place, estimate in enumerate(result)})

    def do_variances(self, call: Header, given: Tensors) -> Header:
        result = self._object.variances(unpack(View, call["view"], given))
        return self._reply({str(place): one for place, one in enumerate(result) if one is not None})

    def do_tampered(self, call: Header, given: Tensors) -> Header:
        facts, generator = unpack(PublicFacts, call["facts"], given), _generator(given["generator"])
        return self._reply({"params": self._object.tampered(facts, given["params"], given["mean_image"], generator)})

    def do_infer(self, call: Header, given: Tensors) -> Header:
        result = self._object.infer(unpack(View, call["view"], given), _generator(given["generator"]))
        tensors = {name: getattr(result, name) for name in ("images", "labels", "loss", "estimate")}
        return self._reply({**tensors, "trace": torch.tensor(result.trace, dtype=torch.float64)})

    def do_canary(self, call: Header, given: Tensors) -> Header:
        generator = _generator(given["generator"])
        return self._reply({"canary": self._object.canary(generator), "generator": generator.get_state()})

    def do_judge(self, call: Header, given: Tensors) -> Header:
        """Evidence and recovered message of one game."""
        seen, game = unpack(RoundView, call["seen"], given), unpack(Game, call["game"], given)
        return self._reply({call["method"]: getattr(self._object, call["method"])(seen, game)})

    def _imagine(self, messages: Tensor) -> Tensor:
        """The change of the model that the deployed rule would make of these messages; the engine works it out."""
        send(self._end, self._reply({"messages": messages}, imagine=True))
        reply = receive(self._end)
        assert self._given is not None
        if "raised" in reply:
            raise ValueError(reply["told"])
        return self._given.read(reply["tensors"])["change"]


def _generator(state: Tensor) -> torch.Generator:
    source = torch.Generator()
    source.set_state(state)
    return source


if __name__ == "__main__":
    main()
