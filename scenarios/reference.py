"""The reference connector in a process of its own, forked from one that has loaded it already.

Preloaded by the fork server, so a start costs a fork rather than an interpreter.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import sys
import threading
from collections.abc import Callable, Mapping
from multiprocessing.connection import wait
from multiprocessing.context import ForkServerContext

from scenarios import mutation

PRELOADED = ["scenarios.worker", "connector.run"]


def context() -> ForkServerContext:
    """The way processes are started here: forked from a clean server that has loaded everything."""
    found = multiprocessing.get_context("forkserver")
    found.set_forkserver_preload(PRELOADED)
    return found


def end_with_parent(before: Callable[[], None] = lambda: None) -> None:
    """End this process, after calling ``before``, as soon as the one that started it is gone."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        wait([parent.sentinel])
        before()
        os._exit(1)

    threading.Thread(target=watch, name="parent", daemon=True).start()


def main(environ: Mapping[str, str], log: str, mutant: str | None) -> None:
    """Be the reference connector until stopped; ``mutant`` names the rule to break first."""
    os.setpgid(0, 0)
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(output, 1)
    os.dup2(output, 2)
    end_with_parent()
    os.environ.clear()
    os.environ.update(environ)
    if mutant is not None:
        mutation.apply(mutation.find(mutant))
    run = importlib.import_module("connector.run").run
    run(dict(environ))
    sys.stdout.flush()
