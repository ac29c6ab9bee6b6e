"""The same protocol over a Unix socket, so that several programs share one service.

One decision: the socket's mode, 0600, is the whole of its protection. Nobody can connect before it
has that mode, because nobody is listening.
"""

from __future__ import annotations

import errno
import logging
import os
import select
import socket
import stat
import struct
import sys
import threading
from contextlib import suppress
from io import RawIOBase
from pathlib import Path
from time import monotonic
from typing import IO

from c2t.runtime.serve.room.room import EngineRoom
from c2t.runtime.serve.stdio.conversation import Conversation, StdioOptions
from c2t.runtime.serve.stdio.wire import Code, RpcError, error_line
from c2t.runtime.system.errors import C2TError
from c2t.runtime.system.portable.file_lock import try_lock
from c2t.runtime.system.portable.open_flags import NO_LINK

LOG = logging.getLogger(__name__)
PEERS_MAX = 64
PEER = struct.Struct("3i")  # `struct ucred`: process, user, group
MODE = 0o600


class SocketDoor:
    """Listens on a Unix socket, in threads of its own, from when it is made until `close`.

    Args:
        room: Describes; it stays open.
        path: Where the socket is made. A socket there that nobody listens on is replaced.
        options: What each peer may ask for.

    Raises:
        C2TError: The socket cannot be made there.
    """

    def __init__(
        self, room: EngineRoom, path: Path, *, options: StdioOptions | None = None
    ) -> None:
        self.path = path
        self._room = room
        self._options = options or StdioOptions()
        self._lock = threading.Lock()
        self._peers: dict[socket.socket, tuple[Conversation, threading.Thread]] = {}
        self._listener, self._guard = _listen(path)
        self._inode = path.stat().st_ino
        self._end, self._wake = socket.socketpair()
        self._thread = threading.Thread(target=self._accept_all, name="c2t-socket", daemon=True)
        self._thread.start()

    def __enter__(self) -> SocketDoor:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self, *, timeout: float = 10.0) -> None:
        """Let nobody in; answer what was begun; then leave.

        Args:
            timeout: Seconds for answers. What is not answered by then is cancelled.
        """
        self._wake.close()
        self._thread.join()
        self._listener.close()
        with suppress(OSError):
            if self.path.stat().st_ino == self._inode:  # else another's by now
                self.path.unlink()
        self._guard.close()
        with self._lock:
            peers = list(self._peers.items())
        for _, (conversation, _) in peers:
            conversation.stop()
        end = monotonic() + timeout
        for connection, (conversation, thread) in peers:
            thread.join(max(0.0, end - monotonic()))
            if thread.is_alive():
                conversation.abandon()
                _hang_up(connection)
                thread.join()

    def _accept_all(self) -> None:
        with self._end:
            while True:
                ready, _, _ = select.select([self._listener, self._end], [], [])
                if self._end in ready:
                    return
                try:
                    connection, _ = self._listener.accept()
                except OSError as error:  # the peer is gone again, or we have too many files open
                    LOG.warning("cannot accept a connection: %s", error)
                    select.select([self._end], [], [], 0.1)
                    continue
                self._greet(connection)

    def _greet(self, connection: socket.socket) -> None:
        with self._lock:
            full = len(self._peers) >= PEERS_MAX
        if full:
            problem = f"{PEERS_MAX} programs are connected"
            error = RpcError(Code.OVERLOADED, problem, hint="close one of them", retry_after=1)
            with connection, suppress(OSError):
                connection.setblocking(False)
                connection.send(error_line(None, error))
            return
        connection.setblocking(True)  # on some systems it is as the listener
        stream = connection.makefile("rwb", buffering=0)
        conversation = Conversation(
            self._room, stream, stream, options=self._options, peer=_peer(connection)
        )
        thread = threading.Thread(
            target=self._talk, args=(connection, stream, conversation), name="c2t-peer", daemon=True
        )
        with self._lock:
            self._peers[connection] = conversation, thread
        thread.start()

    def _talk(
        self, connection: socket.socket, stream: RawIOBase, conversation: Conversation
    ) -> None:
        try:
            conversation.run()
        except OSError as error:
            LOG.info("a program is gone with requests unanswered: %s", error)
        finally:
            _hang_up(connection)
            conversation.join()
            with self._lock:
                del self._peers[connection]
            stream.close()
            connection.close()


def _peer(connection: socket.socket) -> str:
    """Who is connected, as far as the system says."""
    if not hasattr(socket, "SO_PEERCRED"):  # Linux only
        return "a Unix socket"
    with suppress(OSError):
        said = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, PEER.size)
        process, user, _ = PEER.unpack(said)
        return f"a Unix socket, process {process} of user {user}"
    return "a Unix socket"


def _hang_up(connection: socket.socket) -> None:
    with suppress(OSError):  # the peer was first
        connection.shutdown(socket.SHUT_RDWR)


def _listen(path: Path) -> tuple[socket.socket, IO[bytes]]:
    """Make a socket that only this user can connect to.

    Returns:
        The socket, and a locked file that keeps two services from replacing each other's.
    """
    if sys.platform == "win32":  # Python has none there
        problem = "this system has no Unix sockets"
        raise C2TError(problem, hint="use `--stdio`, or HTTP")
    try:
        flags = os.O_RDWR | os.O_CREAT | NO_LINK
        guard = os.fdopen(os.open(f"{path}.lock", flags, MODE), "rb")
    except OSError as error:
        problem = f"cannot make a socket at {path}: {error.strerror}"
        raise C2TError(problem, hint="name a place in a folder of yours") from None
    try:
        try_lock(guard.fileno())
    except OSError:
        guard.close()
        problem = f"another service listens at {path}"
        raise C2TError(problem, hint="connect to it, or name another place") from None
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _remove_stale(path)
        listener.bind(os.fspath(path))
        path.chmod(MODE)
        listener.listen(PEERS_MAX)
        listener.setblocking(False)  # a peer that leaves before `accept` must not hold us up
    except BaseException as error:
        listener.close()
        guard.close()
        if not isinstance(error, OSError):
            raise
        problem = f"cannot make a socket at {path}: {error.strerror or error}"
        hint = "name a shorter place" if _too_long(error) else "name a place in a folder of yours"
        raise C2TError(problem, hint=hint) from None
    return listener, guard


def _remove_stale(path: Path) -> None:
    """Remove a socket that a service left behind when it was killed.

    Raises:
        C2TError: Something else is there, or somebody listens.
    """
    if sys.platform == "win32":
        raise AssertionError
    try:
        status = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(status.st_mode):
        problem = f"{path} exists, and is no socket"
        raise C2TError(problem, hint="name another place")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(os.fspath(path))
        except ConnectionRefusedError:
            path.unlink()
            return
    problem = f"another service listens at {path}"
    raise C2TError(problem, hint="connect to it, or name another place")


def _too_long(error: OSError) -> bool:
    return error.errno == errno.ENAMETOOLONG or "too long" in str(error)
