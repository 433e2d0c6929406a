"""Writes docs/reality.md: what `gpurec` prints when it manages the real servers. Run by `make transcripts` after `make real`."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

from provision import located
from rigs import NEED, ROOM_FOR_TWO, Bench, Rig
from servers import Ollama
from workspaces import GPUREC

DOCS = Path(__file__).parent.parent.parent / "docs" / "reality.md"
HEAD = """# What it does on real servers

Written by `make transcripts`; nothing here is edited by hand. The model is Gemma 3 270M (Q4_K_M), imported or copied under two names.
The card is a card in software of 1024 MiB: a preload around llama.cpp's `ggml-rpc-server` that counts every allocation, refuses what
does not fit, and is used by the unmodified servers as a device of their own.

What the suite (`make real`) holds true on both, on the CPU and on such cards: a load, an empty plan, nothing sent the second time, an
unload by hand, an engine restarted empty, a second model that does not fit, a partial offload told as `cpu_fallback`, a pull from a
registry, a missing model, a wrong key, a server killed in the middle of a load, a load refused for memory, and the rules of
`tests/conformance`.

## Where the real servers taught us something

- Ollama reports less than the card lost (figures below), so do not plan to the last byte: keep the default reserve.
- llama.cpp's router tells neither bytes nor where a model sits: its need must be declared, and a fall back to the CPU cannot be seen.
- llama-server's own fit keeps 1024 MiB of a card free unless `LLAMA_ARG_FIT_TARGET` says otherwise; on a small card that is a model.
- A load that the router accepted and that then failed shows only by polling.
- On Ollama a model that sits on the CPU stays there on a plain request; only unload and load brings it back.

## What people's machines taught us

Reports and files of people who run such fleets, by the kind of what they show; each kind is held by tests.

- **A tool counts its own cards.** A node with cards of two vendors has two cards `0`: an id is of the node, and made unique where the
  answers come in.
- **Memory may belong to the chip or to the node.** AMD's APUs tell a carve-out and a GTT, NVIDIA's GB10, N1X and Jetsons tell none,
  Apple's a limit. What may be used is its owner's choice, so what is declared wins, and the sentence says where a size is from.
- **A tool that is not there has said nothing.** No `nvidia-smi` is not "no card", an Intel Mac is not a machine without one, and a tool
  that fails beside another does not take the other's cards with it. One lost card of four is a fault of that card, and no mistake of the
  inventory.
- **Figures lie together.** A driver that is losing its card says 0 used and 0 free at 97% and 280 W: numbers that cannot be true together
  are unknown, and what is known of them for certain (processes that are seen) counts all the same.
- **An inventory is Ansible's first.** Vault files, connections that are not ssh, jump hosts, keys, the old names of variables: honoured,
  or said; and ssh is not tried where it cannot be meant.
- **A file, an answer, a name may be anybody's.** Each has a bound before it is read out, each number a range where it comes in, and what
  a reader trips over ends nothing else.
- **Whose state is it?** One path in an environment variable served two fleets, and the second unloaded the first's models; two folders
  each had a `hosts.yaml`. A state knows its fleet, and by which inventory it is called so; a file is written through links and to devices
  as they are; what lies in a folder of everybody is said.
- **What was approved is what is done.** A plan waits in a review while others apply. A step is refused where another run changed its
  address, or where it would start from something else than what was shown; what is already as the step leaves it counts as done.
- **A question that need not be answered.** A metrics page behind a login, a proxy that redirects `/version`, a page of 66 MiB: the
  engine is known all the same, and what the answer would have told is unknown.
- **An answer that stops in the middle.** A kernel log that hangs, a driver that takes seconds for each question: what must be known is
  asked first, and what had come by then counts.
- **A name is not an identity.** Tags move while old weights run, one runner answers to several names, one server has two addresses.
  Digests and weights say what is what; of two residents of one name the one that the tag means is ours.
- **Some models are elsewhere.** A tag that leads to a cloud takes no memory here and cannot be kept loaded: it is said, and never
  sent a load.
- **One bad answer ends nothing but itself.** A context of 2⁶³, a csv field of 131,073 characters, a key that comes back in another
  encoding, a pull that drips for ever: each is met at one door, within its time and its memory.
- **Work for strangers is metered.** Blanks behind a `FROM` cost 49 seconds, a label 22, a range of hosts 67 and 1.2 GB, a stream of
  ever-new digests 5.7 GB: what reads another's text is linear, or counts its time, its memory and its rows.
- **The lock lives apart from the work.** While something blocked the loop no heartbeat was written, and a second run took over a lock
  that was alive. Clocks differ, files are replaced: a run finds that out before it sends anything more.
- **A card has more than one engine.** What gives way for a model is the least important of the card, whatever engine holds it, and what
  is lost for good is told with the model that took its place.
- **A clean-up hides the first reason.** An unload that is answered and does not happen is told as such, and not as the time-out of what
  was tried after it.
- **Drift that is told once is lost.** Other weights than the pinned ones, a model deleted while it runs, an engine that restarted: told
  until it is mended, and a hold for one fault holds no other.
- **Builds differ in what they reserve.** The border lies where the source says, not where a number was first seen; a head that drafts is
  loaded whole.
- **Next month is another machine.** A library that is brought in unpinned changed which of two merged keys wins: what judges and tests
  is locked with all that it brings.
"""


def run(rig: Rig, *arguments: str) -> str:
    """One command as a user types it, and what it prints."""
    done = subprocess.run(
        [GPUREC, "-C", rig.workspace.folder, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=300,
    )
    shown = done.stdout.replace(str(rig.workspace.folder), ".")
    status = f"[exit {done.returncode}]\n" if done.returncode else ""
    return f"$ gpurec {' '.join(arguments)}\n{shown.rstrip()}\n{status}\n"


def story(bench: Bench, kind: str) -> str:
    rig = bench.rig(kind, ROOM_FOR_TWO)
    rig.want("gemma", "twin")
    text = f"$ cat desired/{next((rig.workspace.folder / 'desired').iterdir()).name}\n"
    text += next((rig.workspace.folder / "desired").iterdir()).read_text() + "\n"
    text += run(rig, "plan", "--detailed-exitcode") + run(rig, "apply", "--auto-approve") + run(rig, "plan")
    rig.unload("twin")
    text += "# twin is unloaded by hand, past gpurec\n" + run(rig, "drift") + run(rig, "apply", "--auto-approve")
    rig.server.kill()
    rig.server.start()
    text += "# the server is restarted, and empty\n" + run(rig, "plan") + run(rig, "apply", "--auto-approve") + run(rig, "plan")
    used = sum(card.used for card in rig.cards)
    count = f"The card's own count at the end: {used:,} bytes for two models declared with {NEED:,} each."
    if kind == "ollama":
        count += f" Ollama reports {sum(model['size_vram'] for model in rig.ollama.residents().values()):,} for them."
    return f"<!-- not run: tests/real/transcript.py wrote it, from real servers -->\n```console\n{text.rstrip()}\n```\n\n{count}\n"


def main() -> None:
    real = located()
    with tempfile.TemporaryDirectory(prefix="gpurec-transcript-") as folder:
        home = Path(folder)
        seed = Ollama(real, home / "seed")
        seed.import_gguf("gemma", real.gemma)
        seed.import_gguf("twin", real.gemma_twin)
        seed.stop()
        bench = Bench(real, home, lambda: seed.models)
        try:
            parts = [HEAD]
            for title, kind in (("Ollama 0.34.0", "ollama"), ("llama.cpp b10760, router mode", "llamacpp")):
                parts.append(f"## {title}\n\n{story(bench, kind)}")
            DOCS.write_text("\n".join(parts))
        finally:
            bench.stop()
    print(f"wrote {DOCS}")


if __name__ == "__main__":
    main()
