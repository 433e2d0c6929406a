"""On what kind of file system a path lies: SQLite's log needs shared memory and locks that network file systems do not give."""

from __future__ import annotations

from pathlib import Path

_MOUNTS = Path("/proc/self/mountinfo")
_NETWORK = frozenset(
    [
        "9p",
        "afs",
        "beegfs",
        "ceph",
        "cifs",
        "coda",
        "davfs",
        "drvfs",
        "glusterfs",
        "gpfs",
        "lustre",
        "ncpfs",
        "nfs",
        "nfs4",
        "ocfs2",
        "orangefs",
        "prl_fs",
        "smb2",
        "smb3",
        "smbfs",
        "vboxsf",
        "virtiofs",
    ]
)
_NETWORK_FUSE = ("sshfs", "glusterfs", "s3fs", "gcsfuse", "rclone", "ceph", "smb", "nfs", "davfs", "blobfuse", "juicefs", "grpcfuse")


def network_filesystem(path: Path, mounts: str | None = None) -> str | None:
    """The kind of network file system that `path` lies on; None for one of this machine, and where the system does not tell.

    `mounts` is the text of `/proc/self/mountinfo` (proc(5)).
    """
    if mounts is None:
        try:
            mounts = _MOUNTS.read_text(encoding="utf-8", errors="surrogateescape")
        except OSError:
            return None
    place = path.absolute().resolve()
    kind, longest = "", -1
    for line in mounts.splitlines():
        fields, _, rest = line.partition(" - ")
        columns, kinds = fields.split(" "), rest.split(" ")
        if len(columns) < 5 or not kinds[0]:
            continue
        point = Path(_unescaped(columns[4]))
        if len(point.parts) >= longest and place.is_relative_to(point):  # of two on one point the later covers the earlier
            kind, longest = kinds[0], len(point.parts)
    name = kind.removeprefix("fuse.")
    return kind if kind in _NETWORK or (name != kind and name.startswith(_NETWORK_FUSE)) else None


def _unescaped(text: str) -> str:
    r"""Blank, tab, line end and backslash stand as `\040`, `\011`, `\012` and `\134`."""
    for code in ("040", "011", "012", "134"):
        text = text.replace(f"\\{code}", chr(int(code, 8)))
    return text
