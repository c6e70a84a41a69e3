"""Run `unclip` in a fork of one process that has imported PyTorch: a start takes no time.

    python scripts/forked.py --serve SOCKET        until it is killed
    python scripts/forked.py SOCKET [ARGUMENT ...]

The second is as `unclip ARGUMENT ...`: the same folder, environment, streams and exit code.
"""

from __future__ import annotations

import array
import json
import os
import signal
import socket
import sys

STREAMS = (0, 1, 2)
_SIZE = 2**20  # of arguments and environment


def ask(place: str, words: list[str]) -> int:
    """Have a command run; returns its exit code."""
    with socket.socket(socket.AF_UNIX) as line:
        line.connect(place)
        asked = {"words": words, "cwd": os.getcwd(), "environ": dict(os.environ)}
        given = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", STREAMS))]
        line.sendmsg([json.dumps(asked).encode() + b"\n"], given)
        told = line.recv(8)
    return int(told or b"1")  # nothing is told by one that was killed


def serve(place: str) -> None:
    """Answer, one fork a command; several may run at once."""
    import torch  # noqa: F401

    import unclip.facade  # noqa: F401
    from unclip.cli import main

    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for them
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(place)
        server.listen()
        while True:
            line, _ = server.accept()
            if os.fork() == 0:
                server.close()
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                os._exit(_answer(line, main))
            line.close()


def _answer(line: socket.socket, main: object) -> int:
    text, streams, _, _ = socket.recv_fds(line, _SIZE, len(STREAMS))
    while not text.endswith(b"\n"):
        text += line.recv(_SIZE)
    asked = json.loads(text)
    for number, stream in zip(STREAMS, streams, strict=True):
        os.dup2(stream, number)
        os.close(stream)
    os.environ.clear()
    os.environ.update(asked["environ"])
    os.chdir(asked["cwd"])
    try:
        code = int(main(asked["words"]))  # type: ignore[operator]
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    line.sendall(str(code).encode())
    return code


if __name__ == "__main__":
    if sys.argv[1] == "--serve":
        serve(sys.argv[2])
    else:
        sys.exit(ask(sys.argv[1], sys.argv[2:]))
