"""An engine that gpurec starts, from its files to its models: one plan creates it and loads what is wanted on it; what somebody changes is
drift; a run that ends at any moment is put right by the next."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from memory_daemon import Cut, Made, MemoryDaemon, MemoryHost
from operations_lab import OperationsLab, shown

from reconciler.execution.kinds.engine import EngineActor
from reconciler.fleet import ContainerSpec, EngineId, GuardRefused, PublishedPort
from reconciler.operations.plan_file import read_plan, save_plan
from reconciler.operations.resource_types import ResourceType
from reconciler.operations.saved_plan_checks import check_guards
from reconciler.operations.settings import WorkspaceSettings
from reconciler.planning.kinds.engine import OwnedEngineKind
from reconciler.sim import SimFleet, running
from reconciler.sim.read import read_sim_text
from reconciler.views import plan_text

IMAGE, NEWER = "ollama/ollama:0.34.0", "ollama/ollama:0.34.1"
SIM = """
time_scale: 0
models:
  - {name: tiny, size: 700MiB, weights: 600MiB, kv_per_token: 1024}
  - {name: other, size: 700MiB, weights: 600MiB, kv_per_token: 1024}
nodes:
  box:
    gpus: [{name: RTX, vram: 8GiB}]
    engines: {ollama: {kind: ollama, port: 11434, registry: [tiny, other]}}
"""
MODELS = "version: 1\nmodels: {tiny: {engine: ollama, vram: 1GiB}}\n"


@dataclass
class Lab(OperationsLab):
    """A workspace whose one engine runs in a container of a daemon in memory; its server is a simulated one behind the same port."""

    root: Path
    fleet: SimFleet
    daemon: MemoryDaemon
    engine: str = "ollama"
    image: str = IMAGE
    more: str = ""
    gpus: str = "[{index: 0, uuid: GPU-1, vram: 8GiB}]"
    settings: WorkspaceSettings = field(init=False)

    def __post_init__(self) -> None:
        owned = ResourceType(OwnedEngineKind(), (), lambda context: EngineActor(context, lambda node, docker: MemoryHost(self.daemon)))
        self.settings = WorkspaceSettings(self.root, poll_seconds=0.0, resource_types=(owned,))
        for folder in ("inventories", "desired", "state"):
            (self.root / folder).mkdir()
        self.declare()
        self.wish(MODELS)

    @property
    def port(self) -> int:
        return min(engine.port for engine in self.fleet.engines.values())

    def declare(self, **changes: str) -> None:
        for name, value in changes.items():
            setattr(self, name, value)
        container = f'container: {{image: "{self.image}", volumes: ["ollama:/root/.ollama"]}}'
        engine = f"{self.engine}: {{kind: ollama, runtime: container, port: {self.port}, {container}{self.more}}}" if self.engine else ""
        (self.root / "inventories" / "lab.yaml").write_text(
            f"""all:
  hosts:
    box:
      address: 127.0.0.1
      docker: unix:///memory.sock
      probe: {{via: declared}}
      gpus: {self.gpus}
      engines: {{{engine}}}
"""
        )

    def wish(self, text: str) -> None:
        (self.root / "desired" / "lab.yaml").write_text(text)


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with running(read_sim_text(SIM, "sim").on_free_ports()) as fleet:
        engine = fleet.engines["box/ollama"]
        engine.kill()

        def started(made: Made) -> None:
            if made.spec.published and made.spec.published[0].host == engine.port:
                engine.revive()

        daemon = MemoryDaemon([IMAGE, NEWER], started, lambda made: engine.kill())
        yield Lab(tmp_path, fleet, daemon)


TWO = """
models:
  - {name: tiny, size: 700MiB, weights: 600MiB, kv_per_token: 1024}
  - {name: other, size: 700MiB, weights: 600MiB, kv_per_token: 1024}
nodes:
  box:
    gpus: [{name: RTX, vram: 8GiB}, {name: RTX, vram: 8GiB}]
    engines:
      ollama-0: {kind: ollama, port: FIRST, gpus: [0], registry: [tiny, other]}
      ollama-1: {kind: ollama, port: SECOND, gpus: [1], registry: [tiny, other]}
"""


def free_pair() -> tuple[int, int]:
    """Two free ports, one after the other."""
    while True:
        with socket.socket() as one, socket.socket() as other, suppress(OSError):
            one.bind(("127.0.0.1", 0))
            port = one.getsockname()[1]
            other.bind(("127.0.0.1", port + 1))
            return port, port + 1


@pytest.fixture
def two(tmp_path: Path) -> Iterator[Lab]:
    """A node with two cards and an engine for each."""
    first, second = free_pair()
    with running(read_sim_text(TWO.replace("FIRST", str(first)).replace("SECOND", str(second)), "sim")) as fleet:
        by_port = {engine.port: engine for engine in fleet.engines.values()}
        for engine in by_port.values():
            engine.kill()
        daemon = MemoryDaemon(
            [IMAGE, NEWER],
            lambda made: by_port[made.spec.published[0].host].revive(),
            lambda made: by_port[made.spec.published[0].host].kill(),
        )
        gpus = "[{index: 0, uuid: GPU-1, vram: 8GiB}, {index: 1, uuid: GPU-2, vram: 8GiB}]"
        yield Lab(tmp_path, fleet, daemon, more=", instances: auto", gpus=gpus)


def test_each_card_gets_an_engine_of_its_own_and_each_of_them_its_model(two: Lab) -> None:
    two.wish("version: 1\nmodels: {tiny: {engine: ollama, vram: 1GiB, each: gpu}}\n")
    assert sorted(shown(two.plan())) == [
        "create engine.box/ollama-0",
        "create engine.box/ollama-1",
        "load model.tiny@box/ollama-0",
        "load model.tiny@box/ollama-1",
        "pull model.tiny@box/ollama-0",
        "pull model.tiny@box/ollama-1",
    ]
    two.converge()
    assert {made.name: made.spec.cards for made in two.daemon.containers.values()} == {
        "lab-ollama-0": ("GPU-1",),
        "lab-ollama-1": ("GPU-2",),
    }


def test_instances_that_share_a_volume_pull_a_model_one_after_the_other(two: Lab) -> None:
    two.wish("version: 1\nmodels: {tiny: {engine: ollama, vram: 1GiB, each: gpu}, other: {engine: ollama, vram: 1GiB, each: gpu}}\n")
    pulls = {step.id: set(step.needs) for step in two.plan().plan.steps if step.action.value == "pull"}
    waits = {(one, needed) for one, needs in pulls.items() for needed in needs & pulls.keys()}
    assert waits == {(f"pull:model.{name}@box/ollama-1", f"pull:model.{name}@box/ollama-0") for name in ("tiny", "other")}


def test_a_card_that_is_gone_takes_its_engine_along(two: Lab) -> None:
    two.converge()
    two.declare(gpus="[{index: 0, uuid: GPU-1, vram: 8GiB}]")
    assert shown(two.plan()) == ["remove engine.box/ollama-1"]
    two.converge()
    assert two.daemon.names == ["lab-ollama-0"]


def test_one_plan_starts_an_engine_and_loads_its_models(lab: Lab) -> None:
    proposal = lab.plan()
    assert shown(proposal) == ["create engine.box/ollama", "pull model.tiny@box/ollama", "load model.tiny@box/ollama"]
    create, pull, load = proposal.plan.steps
    assert create.id in pull.needs
    assert create.id in load.needs
    lab.converge()
    assert lab.daemon.names == ["lab-ollama"]
    assert "tiny:latest" in lab.fleet.engines["box/ollama"].residents
    made = lab.daemon.named("lab-ollama")
    assert (made.spec.cards, made.spec.published) == (("GPU-1",), (PublishedPort(11434, lab.port),))


def test_a_second_apply_asks_the_daemon_for_no_change(lab: Lab) -> None:
    lab.converge()
    lab.daemon.requests.clear()
    lab.apply()
    assert lab.daemon.changes == []


def test_an_engine_that_was_stopped_is_drift_and_comes_back_with_its_models(lab: Lab) -> None:
    lab.converge()
    lab.daemon.end("lab-ollama")
    found = lab.plan()
    assert [(one.address, one.kind, one.applied, one.found) for one in found.plan.drift if one.address.startswith("engine")] == [
        ("engine.box/ollama", "state", "running", "exited (137)")
    ]
    assert shown(found) == ["update engine.box/ollama", "load model.tiny@box/ollama"]
    lab.daemon.requests.clear()
    lab.converge()
    assert lab.daemon.changes == ["start lab-ollama"]


def test_a_container_that_was_removed_is_made_again(lab: Lab) -> None:
    lab.converge()
    lab.daemon.end("lab-ollama")
    lab.daemon.containers.clear()
    assert shown(lab.plan()) == ["create engine.box/ollama", "load model.tiny@box/ollama"]
    lab.converge()


def test_a_container_that_somebody_made_otherwise_under_our_labels_is_drift(lab: Lab) -> None:
    lab.declare(more=", env: {OLLAMA_DEBUG: 1}")
    lab.converge()
    made = lab.daemon.named("lab-ollama")
    made.spec = replace(made.spec, env={"OLLAMA_DEBUG": "2"})
    found = lab.plan().plan
    assert [(one.kind, one.applied, one.found) for one in found.drift] == [("env", "OLLAMA_DEBUG=1", "OLLAMA_DEBUG=2")]
    lab.converge()
    assert lab.daemon.named("lab-ollama").spec.env == {"OLLAMA_DEBUG": "1"}


def test_another_image_replaces_the_container_and_loads_its_models_again(lab: Lab) -> None:
    lab.converge()
    lab.declare(image=NEWER)
    found = lab.plan()
    assert shown(found) == ["update engine.box/ollama", "reload model.tiny@box/ollama"]
    assert found.plan.drift == ()
    assert found.plan.steps[0].id in found.plan.steps[1].needs
    lab.daemon.requests.clear()
    lab.converge()
    assert lab.daemon.changes == [
        "create lab-ollama.next",
        "stop lab-ollama",
        "rename lab-ollama lab-ollama.previous",
        "rename lab-ollama.next lab-ollama",
        "start lab-ollama",
        "remove lab-ollama.previous",
    ]
    assert lab.daemon.named("lab-ollama").spec.image == NEWER


def test_an_engine_whose_files_name_another_port_is_asked_where_it_was_until_it_is_replaced(lab: Lab) -> None:
    lab.converge()
    text = (lab.root / "inventories" / "lab.yaml").read_text()
    (lab.root / "inventories" / "lab.yaml").write_text(text.replace(f"port: {lab.port}", "port: 9"))
    found = lab.plan()
    assert shown(found) == ["update engine.box/ollama", "reload model.tiny@box/ollama"]
    assert (found.plan.drift, found.plan.deferred) == ((), ())
    seen = found.facts.engine(EngineId("box", "ollama"))
    assert seen is not None
    assert seen.reachable


def test_a_plan_says_how_long_the_models_of_a_replaced_engine_are_away_by_its_last_start_and_their_last_loads(lab: Lab) -> None:
    lab.converge()
    row = lab.plan().applied.resources["engine.box/ollama"]
    started = row.fields["start_seconds"]
    assert isinstance(started, (int, float))
    lab.declare(image=NEWER)
    found = lab.plan().plan
    (reload,) = (step for step in found.steps if step.address == "model.tiny@box/ollama")
    assert reload.seconds is not None
    assert found.impact.downtime_seconds == {"tiny": pytest.approx(started + reload.seconds)}


def test_a_container_that_somebody_named_otherwise_gets_its_name_back_and_keeps_its_models(lab: Lab) -> None:
    lab.converge()
    lab.daemon.named("lab-ollama").name = "mine"
    assert shown(lab.plan()) == ["update engine.box/ollama"]
    lab.daemon.requests.clear()
    lab.converge()
    assert lab.daemon.changes == ["rename mine lab-ollama"]


def test_a_replacement_that_fails_brings_the_old_one_back(lab: Lab) -> None:
    lab.converge()
    lab.daemon.broken[NEWER] = ("no such option --flash", "bye")
    lab.declare(image=NEWER)
    result = lab.apply()
    failed = next(one for one in result.steps if one.status == "failed")
    assert "no such option --flash | bye" in str(failed.message)
    assert "the one before it runs again" in str(failed.message)
    assert lab.daemon.names == ["lab-ollama"]
    assert lab.daemon.named("lab-ollama").spec.image == IMAGE
    assert lab.fleet.engines["box/ollama"].alive


def test_the_old_one_stays_where_the_card_of_the_new_one_cannot_be_had(lab: Lab) -> None:
    lab.converge()
    old = lab.daemon.named("lab-ollama").id
    lab.daemon.refused_cards.add("GPU-2")
    lab.declare(gpus="[{index: 0, uuid: GPU-2, vram: 8GiB}]")
    failed = next(one for one in lab.apply().steps if one.status == "failed")
    assert "cannot give it card GPU-2" in str(failed.message)
    assert (lab.daemon.names, lab.daemon.named("lab-ollama").id) == (["lab-ollama"], old)
    assert lab.fleet.engines["box/ollama"].alive


def test_a_first_start_without_its_card_leaves_no_container_that_was_only_created(lab: Lab) -> None:
    lab.daemon.refused_cards.add("GPU-1")
    assert [one.status.value for one in lab.apply().steps] == ["failed", "skipped", "skipped"]
    assert (lab.daemon.names, lab.daemon.changes) == ([], ["create lab-ollama", "start lab-ollama", "remove lab-ollama"])


def test_a_start_that_fails_leaves_nothing_behind(lab: Lab) -> None:
    lab.daemon.broken[IMAGE] = ("out of luck",)
    result = lab.apply()
    assert [one.status.value for one in result.steps] == ["failed", "skipped", "skipped"]
    assert lab.daemon.names == []


def test_an_image_that_is_nowhere_changes_nothing(lab: Lab) -> None:
    lab.converge()
    lab.declare(image="ollama/ollama:9.9.9")
    result = lab.apply()
    assert "there is no image ollama/ollama:9.9.9" in str(result.steps[0].message)
    assert lab.fleet.engines["box/ollama"].alive
    assert lab.daemon.names == ["lab-ollama"]


def test_an_engine_that_left_the_files_is_stopped_and_removed(lab: Lab) -> None:
    lab.converge()
    lab.wish("version: 1\n")
    lab.declare(engine="")
    assert shown(lab.plan()) == ["remove engine.box/ollama"]
    lab.converge()
    assert lab.daemon.names == []


def test_a_container_without_our_labels_is_left_alone_and_named(lab: Lab) -> None:
    spec = ContainerSpec("web", "nginx:1", "", "", ports=(PublishedPort(80, lab.port),))
    stranger = lab.daemon.add_stranger(spec)
    plan = lab.plan().plan
    assert plan.steps == ()
    assert [note.message for note in plan.held] == [
        f"it cannot be made: its port, {lab.port}, is published by container web of somebody else: "
        "remove that one, or write another `port:`"
    ]
    lab.daemon.requests.clear()
    lab.apply()
    assert lab.daemon.changes == []
    assert lab.daemon.containers == {stranger.id: stranger}


def test_a_daemon_that_is_away_makes_its_engines_unknown(lab: Lab) -> None:
    lab.converge()
    lab.daemon.away = "no route to it"
    plan = lab.plan().plan
    assert plan.steps == ()
    assert [entry.reason for entry in plan.deferred] == ["engine.box/ollama: no route to it"]
    assert plan.drift == ()


@pytest.mark.parametrize("request_name", ["create", "stop", "rename", "start", "remove"])
def test_a_run_that_is_killed_in_a_replacement_is_put_right_by_the_next(lab: Lab, request_name: str) -> None:
    lab.converge()
    lab.declare(image=NEWER)
    proposal = lab.plan()
    lab.daemon.cut = request_name
    with pytest.raises(Cut):
        lab.apply(proposal)
    assert not lab.plan().plan.empty
    lab.converge()
    assert lab.daemon.names == ["lab-ollama"]
    assert lab.daemon.named("lab-ollama").spec.image == NEWER
    assert "tiny:latest" in lab.fleet.engines["box/ollama"].residents


def test_a_run_that_is_killed_between_create_and_start_is_put_right_by_the_next(lab: Lab) -> None:
    lab.daemon.cut = "create"
    proposal = lab.plan()
    with pytest.raises(Cut):
        lab.apply(proposal)
    assert shown(lab.plan())[0] == "update engine.box/ollama"
    lab.converge()


def test_a_saved_plan_says_how_the_engine_is_started(lab: Lab) -> None:
    proposal = lab.plan()
    path = lab.root / "saved.plan"
    save_plan(path, proposal.plan)
    assert read_plan(path, [OwnedEngineKind()]).steps == proposal.plan.steps


@pytest.mark.parametrize("volume", ["/:/host", "/etc:/etc", "/var/run/docker.sock:/s", "/root/.ssh:/k"])
def test_what_makes_a_container_root_on_its_node_is_refused_unless_the_policy_names_it(lab: Lab, volume: str) -> None:
    lab.declare(image=IMAGE)
    text = (lab.root / "inventories" / "lab.yaml").read_text().replace("ollama:/root/.ollama", volume)
    (lab.root / "inventories" / "lab.yaml").write_text(text)
    with pytest.raises(GuardRefused, match=r"policy: \{containers: \{allow:"):
        check_guards(lab.plan().plan)
    lab.wish(f"{MODELS}policy: {{containers: {{allow: [{volume.partition(':')[0]}]}}}}\n")
    check_guards(lab.plan().plan)


def test_what_reaches_beyond_a_container_is_shown(lab: Lab) -> None:
    text = (lab.root / "inventories" / "lab.yaml").read_text().replace("ollama:/root/.ollama", "/srv/models:/root/.ollama")
    (lab.root / "inventories" / "lab.yaml").write_text(text)
    assert "! it writes /srv/models of its host" in plan_text(lab.plan().plan)


RESTARTS = MODELS + "policy: {remediation: {restart_engine: true}}\n"


def test_an_engine_that_runs_and_answers_neither_now_nor_at_the_last_apply_is_started_again_where_the_policy_says_so(lab: Lab) -> None:
    lab.converge()
    lab.declare(more=", load_timeout: 0.05")
    lab.fleet.engines["box/ollama"].kill()
    lab.wish(RESTARTS)
    assert shown(lab.plan()) == ["wait engine.box/ollama"], "it is waited for first"
    lab.apply()
    before = list(lab.daemon.changes)
    proposal = lab.plan()
    assert (shown(proposal)[0], shown(proposal)[-1]) == ("update engine.box/ollama", "load model.tiny@box/ollama")
    said = " ".join(plan_text(proposal.plan).split())
    assert "runs and has not answered since" in said
    assert ": is started again, and loses what it holds" in said
    lab.declare(more=", load_timeout: 60")
    lab.converge()
    assert [one.split()[0] for one in lab.daemon.changes[len(before) :]] == ["stop", "start"], "the same container, started again"


def test_one_that_does_not_answer_after_it_was_started_again_is_left_to_people_for_an_hour(lab: Lab) -> None:
    lab.converge()
    lab.declare(more=", load_timeout: 0.05")
    lab.daemon.started = lambda made: None  # its program hangs again
    lab.fleet.engines["box/ollama"].kill()
    lab.wish(RESTARTS)
    lab.apply()
    assert shown(lab.plan())[0] == "update engine.box/ollama"
    lab.apply()
    proposal = lab.plan()
    assert shown(proposal) == ["wait engine.box/ollama"]
    assert "was started again within the last hour and is not healthy still: not started again before" in proposal.plan.held[0].message


def test_without_the_policy_it_is_only_waited_for(lab: Lab) -> None:
    lab.converge()
    lab.declare(more=", load_timeout: 0.05")
    lab.fleet.engines["box/ollama"].kill()
    lab.apply()
    assert shown(lab.plan()) == ["wait engine.box/ollama"]


def test_one_that_answers_by_the_time_of_the_step_is_not_started_again(lab: Lab) -> None:
    lab.converge()
    lab.declare(more=", load_timeout: 0.05")
    lab.fleet.engines["box/ollama"].kill()
    lab.wish(RESTARTS)
    lab.apply()
    proposal = lab.plan()
    assert shown(proposal)[0] == "update engine.box/ollama"
    lab.fleet.engines["box/ollama"].revive()
    before = len(lab.daemon.changes)
    lab.apply(proposal)
    assert lab.daemon.changes[before:] == []
