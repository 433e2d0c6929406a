"""How things are made in the cache of the real suite: one after the other, whole or not at all, and told. Standard library only."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class CannotProvision(Exception):
    """Something cannot be had here; the sentence says what and what to do."""


def cache_folder() -> Path:
    chosen = os.environ.get("GPUREC_CACHE")
    if chosen:
        return Path(chosen).resolve()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").resolve() / "gpurec-real"


def lock_of(name: str) -> Path:
    """A lock of `requirements/` (or of $GPUREC_LOCKS): every package of an environment, with hashes."""
    return Path(os.environ.get("GPUREC_LOCKS") or Path(__file__).resolve().parents[2] / "requirements") / f"{name}.txt"


def environment_of(cache: Path, name: str) -> Path:
    """Where the environment of a lock is or will be. The lock's hash is in the name: another lock is another environment."""
    return cache / f"{name}-{hashlib.sha256(lock_of(name).read_bytes()).hexdigest()[:16]}"


def say(text: str) -> None:
    print(text, flush=True)


@contextmanager
def step(what: str) -> Iterator[None]:
    """Tells how long something took."""
    say(f"provision: {what} ...")
    start = time.monotonic()
    yield
    say(f"provision: {what}: done in {time.monotonic() - start:.1f} s")


@contextmanager
def only_one(cache: Path) -> Iterator[None]:
    """Holds the cache's lock; a second run waits here, and then finds everything made."""
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"provision: another run holds {cache / 'lock'}; waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def made_whole(target: Path) -> Iterator[Path]:
    """A temporary folder that takes the place of `target` when the block ends well, and goes when it does not.

    Only the holder of the cache's lock makes one, so what a killed run left behind is swept away here.
    """
    work = target.parent / f".{target.name}.part"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    try:
        yield work
        if target.exists():
            shutil.rmtree(target)
        work.rename(target)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def run(*command: str | Path, env: dict[str, str] | None = None) -> None:
    """Runs a command with its output shown; its failure is ours."""
    words = [str(word) for word in command]
    try:
        subprocess.run(words, env=os.environ | (env or {}), stdin=subprocess.DEVNULL, check=True)
    except FileNotFoundError:
        raise CannotProvision(f"{words[0]} is not on the PATH; install it and run this again") from None
    except subprocess.CalledProcessError as error:
        raise CannotProvision(f"`{' '.join(words)}` ended with status {error.returncode}; its output is above") from None


def make_environment(home: Path, name: str, check: str) -> None:
    """Makes the environment of a lock and runs `python -c CHECK` in it.

    Its scripts are of no use, since their first line names the folder it was made in: ask for `python -m MODULE`.
    """
    with step(f"the environment {home.name}"), made_whole(home) as work:
        python = work / "bin" / "python"
        run(sys.executable, "-m", "venv", work)
        run(*pip(python), "install", "-q", "--no-compile", "--no-cache-dir", "--no-deps", "--require-hashes", "-r", lock_of(name))
        run(python, "-c", check)


def pip(python: Path) -> tuple[str | Path, ...]:
    """The words by which an environment's own pip is asked."""
    return python, "-m", "pip", "--disable-pip-version-check"
