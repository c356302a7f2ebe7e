"""A process that has imported what it was told to, and forks one for each piece of code it is sent.

Started as `python fork_server.py SOCKET MODULE...`, SOCKET being the number of an inherited file.
A request is a JSON object of `code`, `arguments` and `folder`, sent with four files: the standard
streams of the process, and one that its id and exit status are written to.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import socket
import sys

LONGEST_REQUEST = 1 << 20


def main() -> None:
    number, *modules = sys.argv[1:]
    gc.disable()
    for name in modules:
        importlib.import_module(name)
    # Nothing of it is garbage, and what is not looked at is not copied into each process.
    gc.freeze()
    gc.enable()
    keepers = []
    with socket.socket(fileno=int(number)) as requests:
        while True:
            message, files, _, _ = socket.recv_fds(requests, LONGEST_REQUEST, 4)
            if not message:
                break
            keeper = os.fork()
            if keeper == 0:
                requests.close()
                keep(files)
                run(**json.loads(message))
                return
            keepers.append(keeper)
            for file in files:
                os.close(file)
    for keeper in keepers:
        os.waitpid(keeper, 0)


def keep(files: list[int]) -> None:
    """Return in a process that has the streams, and tell how it ended."""
    *streams, report = files
    process = os.fork()
    if process == 0:
        os.close(report)
        for standard, stream in enumerate(streams):
            os.dup2(stream, standard)
            os.close(stream)
        return
    for stream in streams:
        os.close(stream)
    os.write(report, b"%d\n" % process)
    _, status = os.waitpid(process, 0)
    os.write(report, b"%d\n" % os.waitstatus_to_exitcode(status))
    os._exit(0)


def run(code: str, arguments: list[str], folder: str) -> None:
    """Run the code as `python -c` would."""
    os.chdir(folder)
    sys.argv = ["-c", *arguments]
    exec(compile(code, "<string>", "exec"), {"__name__": "__main__"})


if __name__ == "__main__":
    main()
