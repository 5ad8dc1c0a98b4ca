"""Cells on a Ray cluster: `connection` finds it, `driver` sends the cells, `node` plays them there."""

from bench.runs.cluster.connection import connect as connect
