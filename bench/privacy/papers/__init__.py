"""The mathematics of single papers: the shuffle model of DPBFL and its blanket, NISS's noise sharing."""
