"""Becomes another program, tied to the life of the process that asked for it.

Run as a script, `python -I -S launch.py PARENT_PID SIGNAL UID GID PROGRAM ARGUMENT…`, and only so: it gives up root if
a user is named (UID and GID are -1 otherwise), asks Linux to send itself SIGNAL when the parent dies, however it dies,
and then replaces itself by PROGRAM. A script of its own and not a `preexec_fn`: nothing of ours runs between fork and
exec in a process that may have threads. It imports the standard library alone: an isolated interpreter has no more.
"""

import ctypes
import os
import sys

PR_SET_PDEATHSIG = 1
EXIT_CANNOT_LAUNCH = 127


def main() -> None:
    """Give up rights, tie, exec."""
    parent, death_signal, uid, gid = (int(text) for text in sys.argv[1:5])
    command = sys.argv[5:]
    libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None
    if uid >= 0:
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    if libc is not None and libc.prctl(PR_SET_PDEATHSIG, death_signal, 0, 0, 0) != 0:  # after setuid, which clears it
        sys.exit(f"prctl: {os.strerror(ctypes.get_errno())}")
    if os.getppid() != parent:
        sys.exit("the process that asked for this one is gone")
    try:
        os.execv(command[0], command)  # noqa: S606 - becoming another program without a shell is the purpose
    except OSError as error:
        sys.stderr.write(f"{command[0]}: {error.strerror}\n")
        sys.exit(EXIT_CANNOT_LAUNCH)


if __name__ == "__main__":
    main()
