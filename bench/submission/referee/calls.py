"""Calls of the kernel that submitted code may not make: those by which processes find each other without a network.

Sides of a defense read the same files, are of one user and began in one session. Locks and watches on a file, keys of
the session, and what lies in the page cache are seen across namespaces, and would carry what no message says. A party
starts no process and shares no memory either: what outlives it would tell a later cell what an earlier one has seen,
and no limit of the kernel holds either.
"""

import ctypes
import errno
import os
import platform
import struct
import sys
from collections.abc import Callable, Iterator, Mapping

X86, ARM = 0xC000003E, 0xC00000B7
"""audit.h: AUDIT_ARCH_X86_64 and AUDIT_ARCH_AARCH64."""

REFUSED: dict[str, tuple[int | None, int | None]] = {
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "flock": (73, 32),
    "inotify_init": (253, None),
    "inotify_init1": (294, 26),
    "fanotify_init": (300, 262),
    "mincore": (27, 232),
    "fadvise64": (221, 223),
    "preadv2": (327, 286),
    "cachestat": (451, 451),
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "perf_event_open": (298, 241),
    "bpf": (321, 280),
    "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
}
"""By name: the number of the call on x86-64 and on ARM; None where it has none."""

REFUSED_TO_PARTIES: dict[str, tuple[int | None, int | None]] = {
    "fork": (57, None),
    "vfork": (58, None),
    "execve": (59, 221),
    "execveat": (322, 281),
    "unshare": (272, 97),
    "setns": (308, 268),
    "mount": (165, 40),
    "fsopen": (430, 430),
    "open_tree": (428, 428),
    "shmget": (29, 194),
    "shmat": (30, 196),
    "semget": (64, 190),
    "msgget": (68, 186),
    "mq_open": (240, 180),
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    "pidfd_open": (434, 434),
    "pidfd_getfd": (438, 438),
    "kcmp": (312, 272),
}
"""The same for those alone in which a file's code runs: other processes, other namespaces, memory that is shared."""

CLONE, CLONE3, MMAP = (56, 220), (435, 435), (9, 222)
CLONE_THREAD, MAP_SHARED, MAP_ANONYMOUS = 0x10000, 0x01, 0x20
"""sched.h, mman.h: a thread is no process, and a file that is mapped is no new memory."""

FCNTL = (72, 25)
LOCKS = (5, 6, 7, 36, 37, 38, 1024, 1025, 1026)
"""fcntl.h: F_GETLK, F_SETLK, F_SETLKW, the same of open files, F_SETLEASE, F_GETLEASE, F_NOTIFY."""

OTHER_NUMBERS = 0x40000000
"""From here on the numbers of x86-64 are those of another interface to the same calls."""

NUMBER, ARCHITECTURE, FIRST, COMMAND, FLAGS = 0, 4, 16, 24, 40
"""Where `struct seccomp_data` has the call, the machine, and the low halves of the first, second, fourth argument."""

LOAD, EQUAL, AT_LEAST, HAS_BITS, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
"""Of the filter's language: load a word, jump on =, on >=, and on a common bit, return."""

ALLOW, REFUSE, ABSENT = 0x7FFF0000, 0x00050000 | errno.EPERM, 0x00050000 | errno.ENOSYS
NO_NEW_PRIVILEGES, SECCOMP, FILTER = 38, 22, 2
"""prctl.h, seccomp.h."""

Instruction = tuple[int, int, int, int]


def refuse_calls() -> bool:
    """Refuse the `REFUSED` to this process and to all that it starts, for good; whether the system could."""
    return _held_to(program)


def refuse_processes() -> bool:
    """Refuse to this process, for good, to start another one or to share memory; whether the system could."""
    os.environ["PATH"] = ""  # who looks for a program finds none, which libraries are ready for
    return _held_to(program_for_parties)


def _held_to(filter_of: Callable[[int], list[Instruction]]) -> bool:
    architecture = {"x86_64": X86, "aarch64": ARM}.get(platform.machine())
    if sys.platform != "linux" or architecture is None:
        return False
    packed = b"".join(struct.pack("HBBI", *one) for one in filter_of(architecture))
    held = ctypes.create_string_buffer(packed, len(packed))

    class Program(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))

    told = Program(len(packed) // 8, ctypes.cast(held, ctypes.c_void_p))
    libc = ctypes.CDLL(None)
    if libc.prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0):
        return False
    return not libc.prctl(SECCOMP, FILTER, ctypes.byref(told), 0, 0)


def program(architecture: int) -> list[Instruction]:
    """The filter: (operation, steps to jump if true, if false, value), as `struct sock_filter` has them."""
    place = _place(architecture)
    results = [*_start(architecture), *_refused(REFUSED, place)]
    if architecture == X86:
        results += [(AT_LEAST, 0, 1, OTHER_NUMBERS), (RETURN, 0, 0, REFUSE)]
    results += [(EQUAL, 1, 0, FCNTL[place]), (RETURN, 0, 0, ALLOW), (LOAD, 0, 0, COMMAND)]
    for command in LOCKS:
        results += [(EQUAL, 0, 1, command), (RETURN, 0, 0, REFUSE)]
    return [*results, (RETURN, 0, 0, ALLOW)]


def program_for_parties(architecture: int) -> list[Instruction]:
    """The second filter. Where there is no `clone3`, whose flags nobody can read here, libraries take `clone`."""
    place = _place(architecture)
    return [
        *_start(architecture),
        *_refused(REFUSED_TO_PARTIES, place),
        *((EQUAL, 0, 1, CLONE3[place]), (RETURN, 0, 0, ABSENT)),
        *((EQUAL, 0, 4, CLONE[place]), (LOAD, 0, 0, FIRST), (HAS_BITS, 1, 0, CLONE_THREAD)),
        *((RETURN, 0, 0, REFUSE), (RETURN, 0, 0, ALLOW)),
        *((EQUAL, 0, 4, MMAP[place]), (LOAD, 0, 0, FLAGS), (HAS_BITS, 0, 2, MAP_ANONYMOUS)),
        *((HAS_BITS, 0, 1, MAP_SHARED), (RETURN, 0, 0, REFUSE)),
        (RETURN, 0, 0, ALLOW),
    ]


def _place(architecture: int) -> int:
    return 0 if architecture == X86 else 1


def _start(architecture: int) -> list[Instruction]:
    """Calls of another machine are refused; the number of the call is loaded."""
    return [
        *((LOAD, 0, 0, ARCHITECTURE), (EQUAL, 1, 0, architecture), (RETURN, 0, 0, REFUSE)),
        (LOAD, 0, 0, NUMBER),
    ]


def _refused(calls: Mapping[str, tuple[int | None, int | None]], place: int) -> Iterator[Instruction]:
    for pair in calls.values():
        if (number := pair[place]) is not None:
            yield from ((EQUAL, 0, 1, number), (RETURN, 0, 0, REFUSE))
