"""Reaching a Dask cluster: one that is there, or processes of this machine.

One decision: whoever can speak to a Dask scheduler can run any code on its workers. So the
processes of this machine speak TLS with keys that are made for the run and never leave memory.
"""

from __future__ import annotations

import contextlib
import logging
import multiprocessing.resource_tracker
import re
import signal
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import c2t
from c2t.kernels.native import core_count
from c2t.runtime.engines.table import EngineName
from c2t.runtime.system.errors import C2TError, first_line
from c2t.runtime.system.machine import look_at_machine

LOCAL = "local"
ADDRESS = re.compile(r"(?:(?:tcp|tls)://)?(?:[\w.-]+|\[[\w:.%-]+\]):(?P<port>[0-9]{1,5})")
TLS_SETTINGS = "DASK_DISTRIBUTED__COMM__TLS__CA_FILE, …__CLIENT__CERT and …__CLIENT__KEY"
CONNECT_SECONDS = 10
WORKERS_SECONDS = 30  # until the first worker is there
CORES_OF_PROCESS = 4
# A difference in one of these makes messages unreadable, or what is in them another thing.
SAME_PACKAGES = ("python", "dask", "distributed")


class ClusterError(C2TError):
    """A cluster that cannot be reached, was lost, or does not fit."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where the workers are.

    Args:
        address: Of the scheduler; "" for processes of this machine.
        processes: How many of those.
    """

    address: str
    processes: int = 0


def parse_place(text: str, engine: str) -> Place:
    """What `--dask` says: a scheduler's address, `local`, or `local:PROCESSES`.

    Raises:
        ClusterError: Neither. Dask would hang for 20 s over some words that are no address.
    """
    name, _, number = text.partition(":")
    if name != LOCAL:
        address = ADDRESS.fullmatch(text)
        if address is None or not 1 <= int(address["port"]) < 1 << 16:
            problem = f"--dask {text!r} is not the address of a scheduler"
            hint = (
                "give tcp://HOST:8786 or tls://HOST:8786, or `local` for processes of this machine"
            )
            raise ClusterError(problem, hint=hint)
        return Place(address=text)
    if not number and ":" not in text:
        on_gpu = engine != EngineName.cpu and bool(look_at_machine().gpus)
        return Place(
            address="", processes=1 if on_gpu else max(2, core_count() // CORES_OF_PROCESS)
        )
    if not number.isdecimal() or not 1 <= int(number) <= core_count():
        problem = f"--dask {text}: the processes are no number from 1 to {core_count()}"
        raise ClusterError(problem, hint="say `local:2`, or `local` alone")
    return Place(address="", processes=int(number))


@contextlib.contextmanager
def open_client(place: Place) -> Iterator[Any]:
    """Connect to a cluster that has workers, of the same versions as ours.

    Raises:
        ClusterError: It is not there, has no workers, or other versions.
    """
    distributed = _import_distributed()
    logging.getLogger("distributed").setLevel(logging.CRITICAL)  # it logs what we report
    with contextlib.ExitStack() as stack:
        security, address = None, place.address
        if not address:
            cluster = stack.enter_context(_local_cluster(distributed, place.processes))
            security, address = cluster.security, cluster.scheduler_address
        client = _connect(distributed, address, security)
        stack.callback(_close, client)
        _wait_for_workers(client, address)
        _check_versions(client)
        yield client


def _connect(distributed: Any, address: str, security: Any) -> Any:
    hint = "start one with `dask scheduler`, or pass `--dask local`"
    try:
        # What is wrong before a connection leaves a client that hangs for 20 s, and then ends in a
        # traceback. So it is looked for first.
        address = distributed.comm.normalize_address(address)
        with_tls = address.startswith("tls://")
        if with_tls:
            hint = f"start one with `dask scheduler`, and name its keys in {TLS_SETTINGS}"
        security = security or distributed.Security()
        has_keys = security.get_connection_args("client")["ssl_context"] is not None
        problem = "" if has_keys or not with_tls else "there are no keys for it"
        if security.require_encryption and not with_tls:
            problem = "Dask's settings here ask for encryption, and this address has none"
            hint = "start one with `dask scheduler --protocol tls`, and give its tls:// address"
        if problem:
            raise ValueError(problem)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about versions, which are compared below
            return distributed.Client(
                address,
                timeout=CONNECT_SECONDS,
                security=security,
                set_as_default=False,
                name="c2t-describe",
            )
    except (OSError, ValueError, TypeError, RuntimeError) as error:
        # Besides OSError: keys that cannot be read, and what is raised above.
        problem = f"no Dask scheduler can be reached at {address}: {first_line(error)}"
        raise ClusterError(problem, hint=f"{hint}; see `c2t help atlas`") from error


def _close(client: Any) -> None:
    with contextlib.suppress(OSError, TimeoutError):
        client.close(timeout=CONNECT_SECONDS)


def _wait_for_workers(client: Any, address: str) -> None:
    try:
        client.wait_for_workers(1, timeout=WORKERS_SECONDS)
    except TimeoutError as error:
        problem = f"the Dask scheduler at {address} has no workers"
        hint = f"start some: dask worker {address} --nthreads 1; see `c2t help atlas`"
        raise ClusterError(problem, hint=hint) from error


def _check_versions(client: Any) -> None:
    """Refuse workers with another c2t, Dask or Python.

    Raises:
        ClusterError: Names the first that differs.
    """
    found = client.get_versions()
    ours = found["client"]["packages"]
    theirs = {"the scheduler": found["scheduler"]}
    theirs |= {f"worker {address}": about for address, about in found["workers"].items()}
    for who, about in theirs.items():
        for name in SAME_PACKAGES:
            here = _shortened(ours.get(name))
            there = _shortened(about["packages"].get(name))
            if here != there:
                problem = f"{who} has {name} {there}, this machine {here}"
                raise ClusterError(problem, hint=f"install the same {name} everywhere")
    # A function of the standard library: a worker without c2t can run it, too.
    our_c2t = our_version()
    for address, there in client.run(version, "c2t", on_error="return").items():
        if isinstance(there, PackageNotFoundError):
            problem = f"worker {address} has no c2t"
            raise ClusterError(problem, hint=f"install c2t {c2t.__version__} there")
        if isinstance(there, BaseException):
            problem = f"worker {address} does not say its version of c2t: {first_line(there)}"
            raise ClusterError(problem, hint="look at its log, and start it again")
        if there != our_c2t:
            problem = f"worker {address} has c2t {there}, this machine {our_c2t}"
            raise ClusterError(problem, hint="install the same version of c2t everywhere")


def our_version() -> str:
    """Version of c2t that is installed here."""
    return version("c2t")


def _shortened(text: str | None) -> str:
    """A version without the build of Python that `get_versions` adds."""
    return (text or "none").split()[0]


@contextlib.contextmanager
def _local_cluster(distributed: Any, processes: int) -> Iterator[Any]:
    import dask.config

    try:
        security = distributed.Security.temporary()
    except ImportError as error:
        problem = "processes of this machine need cryptography, which is not installed"
        raise ClusterError(problem, hint='run `pip install "c2t[dask]"`') from error
    quiet = {
        "distributed.scheduler.http.routes": [],
        "distributed.worker.http.routes": [],
        "distributed.nanny.pre-spawn-environ": {},  # it would change how many threads engines use
        # Idle, a cluster of two took a tenth of a core to look at itself; with these a fiftieth.
        "distributed.worker.profile.enabled": False,
        "distributed.admin.tick.interval": "500ms",
        "distributed.admin.system-monitor.gil.enabled": False,
        "distributed.admin.system-monitor.interval": "10s",
        "distributed.scheduler.work-stealing-interval": "1s",
    }
    with contextlib.ExitStack() as stack:
        stack.enter_context(dask.config.set(quiet))
        with _interrupt_is_ours():
            cluster = distributed.LocalCluster(
                n_workers=processes,
                threads_per_worker=1,
                host="127.0.0.1",
                security=security,
                dashboard_address=None,
                # Its HTTP server cannot be left out. It serves nothing, on a port that is free.
                scheduler_kwargs={"dashboard_address": "127.0.0.1:0"},
                silence_logs=logging.CRITICAL,
                memory_limit=0,  # describing has bounds of its own
            )
        yield stack.enter_context(cluster)


@contextlib.contextmanager
def _interrupt_is_ours() -> Iterator[None]:
    """Keep Ctrl-C from the processes and threads that start in the block, for all their time.

    A terminal sends it to every process. A worker would die of it with a traceback, while this
    process still wants to keep what was described. A Ctrl-C within the block arrives at its end.
    """
    if sys.platform == "win32":
        yield
        return
    # It would lift the block when the first process starts, if it did not run yet.
    multiprocessing.resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _import_distributed() -> Any:
    try:
        import distributed
    except ImportError as error:
        problem = f"--dask needs distributed, which cannot be imported: {first_line(error)}"
        raise ClusterError(problem, hint='run `pip install "c2t[dask]"`') from error
    return distributed
