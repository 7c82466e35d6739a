"""As whom embedded servers run, and what that user can reach."""

import os
import pwd
import stat
from dataclasses import dataclass
from pathlib import Path

NOBODY_UID = 65534


@dataclass(frozen=True, slots=True)
class Account:
    """A user of this machine."""

    name: str
    uid: int
    gid: int


def unprivileged() -> Account | None:
    """Return the user for programs that refuse root; None when we are not root and they can run as ourselves."""
    if os.geteuid() != 0:
        return None
    try:
        entry = pwd.getpwnam("nobody")
    except KeyError:
        return Account(name=str(NOBODY_UID), uid=NOBODY_UID, gid=NOBODY_UID)
    return Account(name=entry.pw_name, uid=entry.pw_uid, gid=entry.pw_gid)


def _may(status: os.stat_result, account: Account, *, bits: int) -> bool:
    if status.st_uid == account.uid:
        return (status.st_mode >> 6) & bits == bits
    if status.st_gid == account.gid:
        return (status.st_mode >> 3) & bits == bits
    return status.st_mode & bits == bits


def reachable(path: Path, account: Account) -> bool:
    """Tell whether the account may enter every directory above an existing path and read the path itself.

    Symbolic links are followed by resolving them first. Access lists beyond the mode bits are not looked at: where they
    deny more, the program's own message says so.
    """
    resolved = path.resolve()
    if not enterable(resolved.parent, account):
        return False
    status = resolved.stat()
    return _may(status, account, bits=0o5 if stat.S_ISDIR(status.st_mode) else 0o4)


def enterable(directory: Path, account: Account) -> bool:
    """Tell whether the account may pass through an existing directory and every one above it."""
    resolved = directory.resolve()
    return all(_may(each.stat(), account, bits=0o1) for each in (resolved, *resolved.parents))


def myself() -> int:
    """Return the user id of this process."""
    return os.geteuid()
