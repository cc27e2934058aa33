"""How fast this machine's cores read main memory together."""

from __future__ import annotations

import ctypes
import os
import time
from threading import Thread

import psutil

from deployq import Measurement, Progress, no_progress

BLOCK_BYTES = 256 << 20
"""Read in one go, shared among the threads: more than the caches of all but the largest servers."""

ROUNDS = 8
_MEMORY_SHARE = 8


def read_bandwidth(
    progress: Progress = no_progress, block_bytes: int = BLOCK_BYTES, rounds: int = ROUNDS
) -> Measurement:
    """Bytes per second of the fastest of `rounds` scans of a block, with one and with all threads.

    A scan is the C library's memchr for a byte that isn't there: it only reads, as generating a
    token does with the weights, and ctypes lets go of the interpreter's lock for it.
    """
    block_bytes = min(block_bytes, psutil.virtual_memory().available // _MEMORY_SHARE)
    # Written to: pages that never were are all one page of zeros, which stays in the cache.
    block = (ctypes.c_char * block_bytes).from_buffer(bytearray(b"\x01") * block_bytes)
    cores = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    counts = sorted({1, max(1, cores // 2), cores})
    best, done = (0.0, 1), 0
    for threads in counts:
        for _ in range(rounds):
            best = max(best, (block_bytes / _scan(block, threads), threads))
            done += 1
            progress("memory", done, rounds * len(counts), "scans")
    speed, threads = best
    return Measurement(speed, "bytes/s", detail=f"memory read by {threads} of {cores} cores")


def _scan(block: ctypes.Array[ctypes.c_char], threads: int) -> float:
    """Seconds that reading the whole block takes, split among the threads."""
    memchr = ctypes.CDLL(None).memchr
    memchr.argtypes = (ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t)
    memchr.restype = ctypes.c_void_p
    start, part = ctypes.addressof(block), len(block) // threads
    readers = [Thread(target=memchr, args=(start + n * part, 0, part)) for n in range(threads)]
    begun = time.perf_counter()
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    return time.perf_counter() - begun
