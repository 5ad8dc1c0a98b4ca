"""Calls of the kernel that submitted code may not make: those by which processes find each other without a network.

Sides of a defense read the same files, are of one user and began in one session. Locks and watches on a file, keys of
the session, and what lies in the page cache are seen across namespaces, and would carry what no message says.
"""

import ctypes
import errno
import platform
import struct
import sys

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

FCNTL = (72, 25)
LOCKS = (5, 6, 7, 36, 37, 38, 1024, 1025, 1026)
"""fcntl.h: F_GETLK, F_SETLK, F_SETLKW, the same of open files, F_SETLEASE, F_GETLEASE, F_NOTIFY."""

OTHER_NUMBERS = 0x40000000
"""From here on the numbers of x86-64 are those of another interface to the same calls."""

NUMBER, ARCHITECTURE, COMMAND = 0, 4, 24
"""Where `struct seccomp_data` has the call, the machine, and the low half of the second argument."""

LOAD, EQUAL, AT_LEAST, RETURN = 0x20, 0x15, 0x35, 0x06
"""Of the filter's language: load a word, jump on = and on >=, return."""

ALLOW, REFUSE = 0x7FFF0000, 0x00050000 | errno.EPERM
NO_NEW_PRIVILEGES, SECCOMP, FILTER = 38, 22, 2
"""prctl.h, seccomp.h."""

Instruction = tuple[int, int, int, int]


def refuse_calls() -> bool:
    """Refuse these calls to this process and to all that it starts, for good; whether the system could."""
    architecture = {"x86_64": X86, "aarch64": ARM}.get(platform.machine())
    if sys.platform != "linux" or architecture is None:
        return False
    packed = b"".join(struct.pack("HBBI", *one) for one in program(architecture))
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
    place = 0 if architecture == X86 else 1
    numbers = [pair[place] for pair in REFUSED.values()]
    results: list[Instruction] = [(LOAD, 0, 0, ARCHITECTURE), (EQUAL, 1, 0, architecture), (RETURN, 0, 0, REFUSE)]
    results.append((LOAD, 0, 0, NUMBER))
    for number in numbers:
        if number is not None:
            results += [(EQUAL, 0, 1, number), (RETURN, 0, 0, REFUSE)]
    if architecture == X86:
        results += [(AT_LEAST, 0, 1, OTHER_NUMBERS), (RETURN, 0, 0, REFUSE)]
    results += [(EQUAL, 1, 0, FCNTL[place]), (RETURN, 0, 0, ALLOW), (LOAD, 0, 0, COMMAND)]
    for command in LOCKS:
        results += [(EQUAL, 0, 1, command), (RETURN, 0, 0, REFUSE)]
    return [*results, (RETURN, 0, 0, ALLOW)]
