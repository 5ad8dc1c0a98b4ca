"""What a defense is: a protocol between clients, channel and server. No engine and no files."""

from bench.protocol.defense import (
    REALS,
    WHOLE,
    Alphabet,
    Defense,
    Delivered,
    LocalRound,
    PeerMessages,
    ServerRound,
    Setting,
    Upload,
    all_finite,
    check_detached,
    check_finite,
    check_matrix,
    check_messages,
    clip,
)
from bench.protocol.sums import SumDefense, Sums, plays_in_sums

__all__ = [
    "REALS",
    "WHOLE",
    "Alphabet",
    "Defense",
    "Delivered",
    "LocalRound",
    "PeerMessages",
    "ServerRound",
    "Setting",
    "SumDefense",
    "Sums",
    "Upload",
    "all_finite",
    "check_detached",
    "check_finite",
    "check_matrix",
    "check_messages",
    "clip",
    "plays_in_sums",
]
