"""Recorded work, on a fake driver (see `fakes.cuda_driver`)."""

from __future__ import annotations

import gc

import numpy as np
import pytest
from fakes.cuda_driver import STREAM, FakeDevice, FakeDriver

from c2t.kernels.cuda.graph import RecordedWork
from c2t.kernels.cuda.memory import DeviceArray, PinnedBytes, copy_to_device, copy_to_host
from c2t.kernels.errors import KernelError
from c2t.kernels.tokens.cuda import DeviceTokenTable, launch_token_rows

TABLE = np.arange(12, dtype=np.float32).reshape(6, 2)


class LookUp:
    """Two ids go up, their rows of a table come down."""

    def __init__(self) -> None:
        self.device = FakeDevice()
        self.table = DeviceTokenTable.upload(TABLE)
        self.ids_here, self.rows_here = PinnedBytes(8), PinnedBytes(16)
        self.ids = DeviceArray.allocate((2,), np.int32)
        self.rows = DeviceArray.allocate((2, 2), np.float32)

    def start(self) -> None:
        copy_to_device(self.ids.pointer, self.ids_here.pointer, 8, self.device.handle)
        launch_token_rows(
            self.device,
            self.table,
            token_ids=self.ids.pointer,
            given=0,
            out=self.rows.pointer,
            count=2,
            dtype="float32",
        )
        copy_to_host(self.rows_here.pointer, self.rows.pointer, 16, self.device.handle)

    def ask(self, *ids: int) -> None:
        self.ids_here.array.view(np.int32)[:] = ids

    @property
    def result(self) -> list[list[float]]:
        """The rows that came down last."""
        return self.rows_here.array.view(np.float32).reshape(2, 2).tolist()


def test_recorded_work_reads_what_lies_there_when_it_runs(driver: FakeDriver) -> None:
    work = LookUp()
    work.ask(1, 2)
    work.start()
    assert work.result == TABLE[[1, 2]].tolist()
    work.ask(3, 4)
    recorded = RecordedWork(work.device, work.start)
    assert work.result == TABLE[[1, 2]].tolist()  # recording does nothing
    for ids in ((5, 0), (2, 2), (0, 5)):
        work.ask(*ids)
        recorded.start()
        assert work.result == TABLE[list(ids)].tolist()


def test_it_is_destroyed_once(driver: FakeDriver) -> None:
    work = LookUp()
    work.start()
    closed, dropped = (RecordedWork(work.device, work.start) for _ in range(2))
    assert driver.graphs == {}  # only what can be launched is kept
    assert len(driver.executables) == 2
    closed.close()
    assert len(driver.executables) == 1
    closed.close()
    with pytest.raises(pytest.fail.Exception, match="not any more"):
        closed.start()
    del dropped
    gc.collect()
    assert driver.executables == {}


@pytest.mark.parametrize("error", [KernelError("no", hint="none"), KeyboardInterrupt()])
def test_an_error_ends_the_recording(driver: FakeDriver, error: BaseException) -> None:
    work = LookUp()
    work.start()

    def start() -> None:
        work.start()
        raise error

    with pytest.raises(type(error)):
        RecordedWork(work.device, start)
    assert driver.graphs == driver.executables == {}
    assert STREAM.recorded is None
    assert gc.isenabled()
    work.ask(4, 1)
    work.start()
    assert work.result == TABLE[[4, 1]].tolist()
    RecordedWork(work.device, work.start).start()


def test_a_recording_that_the_driver_gave_up_is_an_error(
    driver: FakeDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = pytest.importorskip("cuda.bindings.driver", reason="needs c2t[gpu]")
    work = LookUp()
    work.start()

    def end(stream: int) -> tuple[object, None]:
        STREAM.recorded = None
        return real.CUresult.CUDA_ERROR_STREAM_CAPTURE_INVALIDATED, None

    monkeypatch.setattr(real, "cuStreamEndCapture", end)
    with pytest.raises(KernelError, match="CAPTURE_INVALIDATED"):
        RecordedWork(work.device, work.start)
    with pytest.raises(ZeroDivisionError):  # the first error is the one to know
        RecordedWork(work.device, lambda: work.ask(1 // 0, 0))


def test_a_graph_that_cannot_be_made_ready_is_not_kept(
    driver: FakeDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = pytest.importorskip("cuda.bindings.driver", reason="needs c2t[gpu]")
    full = real.CUresult.CUDA_ERROR_OUT_OF_MEMORY
    monkeypatch.setattr(real, "cuGraphInstantiate", lambda *_: (full, None))
    with pytest.raises(KernelError, match="OUT_OF_MEMORY"):
        RecordedWork(FakeDevice(), lambda: None)
    assert driver.graphs == {}


def test_garbage_is_not_freed_into_a_recording(driver: FakeDriver) -> None:
    class Ring:
        """Garbage that only a search for it finds."""

        def __init__(self) -> None:
            self.memory, self.ring = DeviceArray.allocate((4,), np.uint8), self

    def start() -> None:
        assert [[] for _ in range(1000)]  # enough for a search to begin

    before, thresholds = driver.free, gc.get_threshold()
    gc.set_threshold(10, 1, 1)
    try:
        gc.collect()
        Ring()
        RecordedWork(FakeDevice(), start)
    finally:
        gc.set_threshold(*thresholds)
    gc.collect()
    assert driver.free == before
