"""Cells described by the workers of a Dask cluster, in the order of the file.

One decision: a range is a task whose answer is bytes. Dask gives the ranges of a worker that died
to others; what it brings back is taken in order, through a window.
"""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from c2t.kernels.native import core_count
from c2t.runtime.bundle.bundle import Bundle
from c2t.runtime.cells.reader import CellReader
from c2t.runtime.describe.describer import Describer
from c2t.runtime.describe.description import Description
from c2t.runtime.engines.table import GPU_ORDER, EngineName
from c2t.runtime.output.describe_file import (
    DescribeFileOptions,
    Describing,
    OpenDescribing,
)
from c2t.runtime.output.parts.plan import ranges_left
from c2t.runtime.output.record import embedding_array, record_fields
from c2t.runtime.scale_out.cluster import ClusterError, Place, open_client
from c2t.runtime.scale_out.job import (
    Answer,
    Described,
    Failed,
    Job,
    Ready,
    decode_answer,
    make_job,
)
from c2t.runtime.scale_out.window import AHEAD, in_order, range_cells
from c2t.runtime.scale_out.work import describe_range, look

GPU_RESOURCE = "GPU"  # the name that workers with one declare: `dask worker --resources GPU=1`
LOOK_SECONDS = 5.0  # between two looks at who is there
ALONE_SECONDS = 120.0  # without any worker, or with no word from the scheduler
KEPT_HINT = "run the same command again when it is back: what was described is kept"


def dask_workers(place: Place, report: Callable[[str], None]) -> OpenDescribing:
    """What `describe_file` opens to have cells described elsewhere.

    Args:
        place: Where the workers are.
        report: Told what was found out about them, a sentence at a time.
    """

    @contextmanager
    def opened(
        bundle: Bundle, options: DescribeFileOptions, reader: CellReader
    ) -> Iterator[Describing]:
        describing = options.describing
        if place.processes and describing.threads is None:
            threads = max(1, core_count() // place.processes)
            describing = replace(describing, threads=threads)
        job = make_job(
            bundle, options.cells, reader, reading=options.reading, describing=describing
        )
        with open_client(place) as client, _telling_loss(client):
            yield DaskWorkers(client, job, reader.n_cells, report)

    return opened


class DaskWorkers:
    """The workers of a cluster that see the files of a job.

    Args:
        client: Connected.
        job: What to describe.
        cells: How many.
        report: Told what is doubtful about the cluster.

    Attributes:
        label: The engine that all of them have.
        reason: Why it was chosen, and how many workers there are.
        hint: What would make it better.

    Raises:
        C2TError: A worker sees other files, or has another engine than the others.
    """

    def __init__(self, client: Any, job: Job, cells: int, report: Callable[[str], None]) -> None:
        self.describer: Describer | None = None
        self._client, self._cells = client, cells
        self._name = f"c2t-{secrets.token_hex(8)}"
        self._resources = self._choose_resources(job.describing.engine)
        self._workers = self._suited()
        self._looked = time.monotonic()
        if not self._workers:
            problem = "no worker of the cluster is left to describe cells"
            raise ClusterError(problem, hint="start workers, and run the same command again")
        self._warn_of_threads(report)
        # A task of its own: it travels once to each worker, and comes back when a worker dies.
        self._job = client.submit(bytes, job.encoded(), key=f"{self._name}-job")
        ready = self._look_at_workers()
        self.label, self.hint = ready.label, ready.hint
        count = len(self._workers)
        self.reason = f"{count} Dask worker{'s' if count > 1 else ''}; {ready.reason}"
        self._range_cells = range_cells(cells, count, ready.cells_at_once)

    def describe(self, start: int) -> Iterator[Description]:
        """See `c2t.runtime.output.describe_file.Describing.describe`."""
        given: set[Any] = set()

        def submit(first: int, stop: int) -> Any:
            future = self._client.submit(
                describe_range,
                self._job,
                first,
                stop,
                key=f"{self._name}-{first}",
                resources=self._resources,
            )
            given.add(future)
            return future

        def take(future: Any) -> Described:
            answer = self._answer(future)
            given.discard(future)
            assert isinstance(answer, Described)
            if answer.label != self.label:
                problem = f"a worker that joined has the engine {answer.label}, not {self.label}"
                raise ClusterError(problem, hint="start workers of one kind, or name an --engine")
            return answer

        ranges = ranges_left(start, self._cells, self._range_cells)
        try:
            for answer in in_order(ranges, submit, take, ahead=self._ahead):
                yield from map(_description, answer.records)
        finally:
            with contextlib.suppress(Exception):  # what fails here failed before, and is reported
                if given:
                    self._client.cancel(list(given))

    def profile(self) -> str:
        """See `c2t.runtime.output.describe_file.Describing.profile`."""
        return "where the time went is not known: the work was done elsewhere"

    def _choose_resources(self, engine: str) -> dict[str, int] | None:
        """Workers with a GPU do all the work, if there are some and it is for them."""
        wants_gpu = engine == EngineName.auto or engine in GPU_ORDER
        has_gpu = any(about["resources"].get(GPU_RESOURCE) for about in self._info().values())
        return {GPU_RESOURCE: 1} if wants_gpu and has_gpu else None

    def _info(self) -> dict[str, Any]:
        workers: dict[str, Any] = self._client.scheduler_info(n_workers=-1)["workers"]
        return workers

    def _suited(self) -> list[str]:
        """Addresses of the workers that may get ranges."""
        wanted = GPU_RESOURCE if self._resources else None
        return [
            a for a, about in self._info().items() if not wanted or about["resources"].get(wanted)
        ]

    def _warn_of_threads(self, report: Callable[[str], None]) -> None:
        for address, about in self._info().items():
            if address in self._workers and about["nthreads"] > 1:
                threads = f"{about['nthreads']} threads for tasks, and uses one"
                hint = "start workers with --nthreads 1"
                report(f"warning: worker {address} has {threads}; {hint}")
                return

    def _look_at_workers(self) -> Ready:
        """Have every worker open the job; all must have the same engine."""
        futures = {
            address: self._client.submit(
                look,
                self._job,
                key=f"{self._name}-look-{number}",
                workers=[address],
                resources=self._resources,
            )
            for number, address in enumerate(self._workers)
        }
        first: Ready | None = None
        for address, future in futures.items():
            answer = self._answer(future, of=address)
            if answer is None:
                continue
            assert isinstance(answer, Ready)
            first = first or answer
            if answer.label != first.label:
                problem = f"worker {address} has the engine {answer.label}, another {first.label}"
                raise ClusterError(problem, hint="start workers of one kind, or name an --engine")
        if first is None:
            problem = "no worker of the cluster is left to describe cells"
            raise ClusterError(
                problem, hint="look at the logs of the workers, and start them again"
            )
        return first

    def _ahead(self) -> int:
        if time.monotonic() - self._looked > LOOK_SECONDS:
            self._workers = self._suited()
            self._looked = time.monotonic()
        return AHEAD * max(1, len(self._workers))

    def _answer(self, future: Any, *, of: str | None = None) -> Answer | None:
        """Wait for an answer.

        Args:
            future: The task.
            of: The only worker that can give it; None: any can.

        Returns:
            None if the only worker that can give it has gone.

        Raises:
            C2TError: The worker's own.
            ClusterError: Nobody is left to give it.
        """
        alone = time.monotonic()
        while True:
            try:
                answer = decode_answer(future.result(timeout=LOOK_SECONDS))
                break
            except TimeoutError:
                there = self._suited() if self._client.status == "running" else []
                if of is not None and there and of not in there:
                    return None
                if there:
                    alone = time.monotonic()
                elif time.monotonic() - alone > ALONE_SECONDS:
                    problem = "no worker of the cluster is left to describe cells"
                    raise ClusterError(problem, hint=KEPT_HINT) from None
        if isinstance(answer, Failed):
            raise answer.error()
        return answer


def _description(record: Any) -> Description:
    return Description(
        cell=record.cell,
        text=record.text,
        confidence=record.confidence,
        cell_type_confidence=record.cell_type_confidence,
        genes_used=record.genes_used,
        error=record.error,
        fields=record_fields(record),
        cell_type_probability=record.cell_type_probability,
        unsure=record.unsure,
        embedding=embedding_array(record),
    )


@contextmanager
def _telling_loss(client: Any) -> Iterator[None]:
    """Turn what Dask raises when machines are lost into errors that say what to do."""
    from concurrent.futures import CancelledError

    from distributed import KilledWorker
    from distributed.client import (
        ClosedClientError,
        FutureCancelledError,
        FuturesCancelledError,
    )

    address = client.scheduler.address
    lost = (CancelledError, FutureCancelledError, FuturesCancelledError, ClosedClientError)
    try:
        yield
    except KilledWorker as error:
        problem = f"the same cells ended several workers: {error.task}"
        hint = "look at the logs of the workers: they may lack memory"
        raise ClusterError(problem, hint=hint) from error
    except ModuleNotFoundError as error:
        if not str(error.name).startswith("c2t"):
            raise
        problem = f"a worker that joined cannot run this version of c2t: {error}"
        raise ClusterError(problem, hint="install the same version of c2t everywhere") from error
    except lost as error:
        problem = f"the Dask scheduler at {address} was lost"
        raise ClusterError(problem, hint=KEPT_HINT) from error
    except OSError as error:
        if client.status == "running":
            raise
        problem = f"the Dask scheduler at {address} was lost"
        raise ClusterError(problem, hint=KEPT_HINT) from error
