"""Become the server: hand over listening sockets as systemd does (sd_listen_fds(3)), then exec.

Run as `python -I -S handover.py '{"sockets": [7, 9], "limits": {"NOFILE": 64}}' program argument...`.
LISTEN_PID has to be the server's own pid, which nobody knows before the fork; exec keeps the pid.
"""

import fcntl
import json
import os
import resource
import sys

FIRST = 3  # SD_LISTEN_FDS_START


def main() -> None:
    order = json.loads(sys.argv[1])
    # Out of the way first: a target number may be the number of another source.
    high = [fcntl.fcntl(number, fcntl.F_DUPFD, 200) for number in order["sockets"]]
    for number in order["sockets"]:
        os.close(number)
    for offset, number in enumerate(high):
        os.dup2(number, FIRST + offset, inheritable=True)
        os.close(number)
    if high:
        os.environ["LISTEN_PID"] = str(os.getpid())
        os.environ["LISTEN_FDS"] = str(len(high))
    for name, value in order["limits"].items():
        resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (value, value))
    os.execvp(sys.argv[2], sys.argv[2:])


main()
