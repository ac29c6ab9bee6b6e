"""Our errors as JSON-RPC says them."""

from __future__ import annotations

from c2t.runtime.serve.room.limits import OverloadedError, StoppingError
from c2t.runtime.serve.stdio.wire import Code, RpcError, shown
from c2t.runtime.system.errors import AuditError, BundleError, C2TError, CellFileError, EngineError


def rpc_error(error: C2TError) -> RpcError:
    """The code of an error, and its two lines."""
    problem, hint = shown(error.problem), shown(error.hint)
    if isinstance(error, OverloadedError):
        return RpcError(Code.OVERLOADED, problem, hint=hint, retry_after=error.retry_after)
    if isinstance(error, CellFileError):
        return RpcError(Code.CELLS, problem, hint=hint)
    if isinstance(error, StoppingError):
        return RpcError(Code.STOPPING, problem, hint=hint)
    if isinstance(error, (EngineError, BundleError, AuditError)):
        return RpcError(Code.ENGINE, problem, hint=hint)
    return RpcError(Code.INVALID_PARAMS, problem, hint=hint)
