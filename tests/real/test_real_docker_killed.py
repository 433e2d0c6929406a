"""An apply that is killed right after any of the changes that it asks a real Docker Engine for: the next one puts all of it right.

The moments are not chosen: each scenario is run again with one change more, until it comes to its end alive.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from dockerd import Dockerd
from killing import KillingSocket, is_killed, killing_socket
from processes import free_port
from waiting import wait_until
from workspaces import Workspace

MIB = 2**20
SAYS = ["sh", "-c", "cat /etc/gpurec/agent.json /run/secrets/token && echo && exec sleep 1000"]
"""It ends at once where one of its files is not there."""
SECRET = "a-secret-of-those-who-are-killed"
VARIABLES = {"KILLED_TOKEN": SECRET}


@pytest.fixture(scope="module")
def dockerd() -> Iterator[Dockerd]:
    daemon = Dockerd(cards=True)
    for network in ("killed-one", "killed-two"):
        daemon.client.post("/networks/create", json={"Name": network}).raise_for_status()
    yield daemon
    print(daemon.process.tail())
    daemon.stop()


@pytest.fixture
def door(dockerd: Dockerd) -> Iterator[KillingSocket]:
    with killing_socket(dockerd.socket) as opened:
        yield opened
    dockerd.clear()


class Agent:
    """A workspace with one agent that has a config and a secret in files, in two networks."""

    def __init__(self, folder: Path, daemon: Dockerd, socket: Path) -> None:
        self.daemon, self.workspace = daemon, Workspace(folder)
        self.workspace.declare({}, (), 4096 * MIB, docker={"url": f"unix://{socket}"}, gpus=[])
        self.port = free_port()

    def want(self, **container: Any) -> None:
        base = {"image": Dockerd.image, "command": SAYS, "secrets": {"token": "env:KILLED_TOKEN"}, "stop_timeout": "1s"}
        base |= {"networks": ["killed-one", "killed-two"]} | container
        self.workspace.want({}, agents={"worker": {"config": {"pairs": ["BTC"]}, "container": base}})

    def want_nothing(self) -> None:
        self.workspace.want({})

    def apply(self, *ends: int) -> None:
        self.workspace.apply(*ends or (0,), variables=VARIABLES)

    def expect_nothing_to_do(self) -> None:
        said = self.workspace.run("plan", "--detailed-exitcode", variables=VARIABLES).expect(0)
        assert said.out.startswith("No changes."), said

    @property
    def containers(self) -> dict[str, dict[str, Any]]:
        found = self.daemon.client.get("/containers/json", params={"all": "true"}).json()
        whole = [self.daemon.client.get(f"/containers/{one['Id']}/json").json() for one in found]
        return {str(one["Name"]).lstrip("/"): one for one in whole}

    def expect_one_that_runs(self, image: str, **env: str) -> None:
        """It alone is there, with what was put into it."""
        ((name, one),) = self.containers.items()
        assert (name, one["State"]["Running"], one["Config"]["Image"]) == ("lab-worker", True, image)
        assert {f"{key}={value}" for key, value in env.items()} <= set(one["Config"]["Env"])
        assert set(one["NetworkSettings"]["Networks"]) == {"killed-one", "killed-two"}

        def has_its_files() -> bool:
            log = self.daemon.client.get(f"/containers/{one['Id']}/logs", params={"stdout": "true"}).text
            return SECRET in log and "BTC" in log

        wait_until(has_its_files, 20, "it writes what is in its files")


@dataclass(frozen=True)
class Scenario:
    """`begin` is applied before, and again where it `starts_over` for each moment; the killed apply is for the first of `changes`, that for
    the next moment for the one after it. `held` must be so after the next apply, which ends with `ends`. `fewest` changes are to be asked
    for, else the scenario is not what it says."""

    begin: Callable[[Agent], None] | None
    changes: Sequence[Callable[[Agent], None]]
    held: Sequence[Callable[[Agent], None]]
    fewest: int
    ends: int = 0
    starts_over: bool = False


def first(agent: Agent, **more: Any) -> None:
    agent.want(ports=[f"{agent.port}:80"], **more)


def broken(agent: Agent) -> None:
    first(agent, command=["sh", "-c", "echo out of ideas; exit 3"], restart="no")


def one_of(image: str, **env: str) -> Callable[[Agent], None]:
    return lambda agent: agent.expect_one_that_runs(image, **env)


def none(agent: Agent) -> None:
    assert agent.containers == {}


SCENARIOS = {
    "created": Scenario(None, [Agent.want], [one_of(Dockerd.image)], 4, starts_over=True),
    "replaced-old-first": Scenario(
        first, [lambda agent: first(agent, image=Dockerd.other), first], [one_of(Dockerd.other), one_of(Dockerd.image)], 8
    ),
    "replaced-new-first": Scenario(
        Agent.want, [lambda agent: agent.want(env={"A": "2"}), Agent.want], [one_of(Dockerd.image, A="2"), one_of(Dockerd.image)], 7
    ),
    "brought-back": Scenario(first, [broken], [one_of(Dockerd.image)], 8, ends=3),
    "removed": Scenario(Agent.want, [Agent.want_nothing], [none], 2, starts_over=True),
}


@pytest.mark.timeout(600)
@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=list(SCENARIOS))
def test_an_apply_that_is_killed_after_any_of_its_changes_is_put_right_by_the_next(
    scenario: Scenario, tmp_path: Path, dockerd: Dockerd, door: KillingSocket
) -> None:
    count, killed, agent = 0, True, None
    while killed:
        if agent is None or scenario.starts_over:
            dockerd.clear()
            agent = Agent(tmp_path / str(count), dockerd, door.path)
            if scenario.begin is not None:
                scenario.begin(agent)
                agent.apply()
        change, held = (some[count % len(some)] for some in (scenario.changes, scenario.held))
        change(agent)
        count += 1
        killed = is_killed(agent.workspace.folder, door, count, **VARIABLES)
        print(f"after {count} changes: {door.asked}")
        agent.apply(scenario.ends)
        held(agent)
        if scenario.ends == 0:
            agent.expect_nothing_to_do()
    assert count > scenario.fewest, door.asked
