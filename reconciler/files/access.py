"""Who else may change a file or what lies in a folder."""

from __future__ import annotations

import grp
import os
import pwd
import stat


def others_may_write(seen: os.stat_result) -> bool:
    """Whether anybody but this user and root may write to what was looked at: by its mode, or as its owner.

    The group of a user alone, as most distributions make one (same name, no other members), is nobody else. The sticky bit is not looked
    at: it keeps others from removing what is there, and not from putting something new beside it.
    """
    mode = stat.S_IMODE(seen.st_mode)
    if seen.st_uid not in (0, os.geteuid()) or mode & stat.S_IWOTH:
        return True
    return bool(mode & stat.S_IWGRP) and not _own_group(seen.st_gid)


def _own_group(group: int) -> bool:
    if group == 0:
        return True
    try:
        name, found = pwd.getpwuid(os.geteuid()).pw_name, grp.getgrgid(group)
    except KeyError:
        return False
    return found.gr_name == name and set(found.gr_mem) <= {name}
