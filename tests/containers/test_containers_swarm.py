"""A service of a swarm as the container that it stands for. What a real swarm does is asked in `tests/real`."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from reconciler.containers.swarm_answers import SERVICE, TASKS, Task, newest, read_service, stranger_service
from reconciler.fleet import ContainerFacts, ContainerSpec, ContainerState, Owner, PublishedPort, mismatches, parse_mount

SPEC = ContainerSpec(
    "lab-box",
    "local/busybox:1",
    "lab",
    "engine.box/a",
    command=("sleep", "1"),
    env={"A": "1"},
    ports=(PublishedPort(80, 8080, "0.0.0.0"),),
    mounts=(parse_mount("v:/v:ro"),),
    networks=("overlay",),
    restart="on-failure:3",
    shm_size=2**26,
    cpus=1.5,
    memory=2**30,
    cards=("GPU-1", "GPU-2"),
    groups=("video",),
)
DOCUMENT: dict[str, Any] = {
    "ID": "s",
    "Version": {"Index": 3},
    "Spec": {
        "Name": "lab-box-next",
        "Labels": {**SPEC.all_labels, "gpurec.name": "lab-box", "gpurec.restart": "on-failure:3"},
        "TaskTemplate": {
            "Placement": {"Constraints": ["node.id==node-1"]},
            "ContainerSpec": {
                "Image": "local/busybox:1@sha256:" + "d" * 64,
                "Args": ["sleep", "1"],
                "Env": ["A=1", "NVIDIA_VISIBLE_DEVICES=GPU-2,GPU-1"],
                "Mounts": [
                    {"Type": "volume", "Source": "v", "Target": "/v", "ReadOnly": True},
                    {"Type": "tmpfs", "Target": "/dev/shm", "TmpfsOptions": {"SizeBytes": 2**26}},
                ],
                "Groups": ["video"],
            },
            "Resources": {"Limits": {"NanoCPUs": 1_500_000_000, "MemoryBytes": 2**30}},
            "RestartPolicy": {"Condition": "on-failure", "MaxAttempts": 3},
            "Networks": [{"Target": "net"}],
        },
        "Mode": {"Replicated": {"Replicas": 1}},
        "EndpointSpec": {"Ports": [{"Protocol": "tcp", "TargetPort": 80, "PublishedPort": 8080}]},
    },
}


def task(state: str, at: str = "1", desired: str = "running", **container: int) -> dict[str, Any]:
    status = {"State": state, "Err": "said so", "ContainerStatus": container or None}
    return {"ID": at, "ServiceID": "s", "CreatedAt": at, "DesiredState": desired, "Status": status}


def tasks(*documents: dict[str, Any]) -> list[Task]:
    return TASKS.validate_python(list(documents))


def facts(document: dict[str, Any] = DOCUMENT, told: Sequence[dict[str, Any]] = (task("running"),)) -> ContainerFacts:
    return read_service(SERVICE.validate_python(document), tasks(*told), "lab", ("A",), {}, {"net": "overlay"}, None, "node-1")


def changed(*path: str, to: object) -> dict[str, Any]:
    document = copy.deepcopy(DOCUMENT)
    inner = document["Spec"]
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = to
    return document


def test_a_service_as_it_was_made_has_no_difference_and_the_name_of_its_label() -> None:
    found = facts()
    assert mismatches(SPEC, found) == ()
    assert (found.name, found.owner, found.address, found.restarts) == ("lab-box", Owner.OURS, SPEC.address, 0)


@pytest.mark.parametrize(
    ("path", "to", "field"),
    [
        (("TaskTemplate", "ContainerSpec", "Env"), ["A=2", "NVIDIA_VISIBLE_DEVICES=GPU-1,GPU-2"], "env"),
        (("TaskTemplate", "ContainerSpec", "Env"), ["A=1", "NVIDIA_VISIBLE_DEVICES=all"], "cards"),
        (("TaskTemplate", "ContainerSpec", "Env"), ["A=1", "NVIDIA_VISIBLE_DEVICES=void"], "cards"),
        (("TaskTemplate", "ContainerSpec", "Args"), ["sleep", "2"], "command"),
        (("TaskTemplate", "ContainerSpec", "Command"), ["sh"], "entrypoint"),
        (("TaskTemplate", "ContainerSpec", "CapabilityAdd"), ["CAP_SYS_ADMIN"], "privileges"),
        (("TaskTemplate", "ContainerSpec", "User"), "1000", "settings"),
        (("TaskTemplate", "ContainerSpec", "ReadOnly"), True, "settings"),
        (("TaskTemplate", "Placement"), None, "settings"),
        (("TaskTemplate", "Placement", "Constraints"), ["node.id==node-2"], "settings"),
        (("TaskTemplate", "RestartPolicy"), {"Condition": "any", "MaxAttempts": 3}, "restart"),
        (("TaskTemplate", "RestartPolicy"), None, "restart"),
        (("TaskTemplate", "Resources"), None, "cpus memory"),
        (("TaskTemplate", "Networks"), [], "networks"),
        (("EndpointSpec",), None, "ports"),
        (("Mode",), {"Replicated": {"Replicas": 0}}, "state"),
    ],
)
def test_what_was_changed_by_hand_is_told_by_its_field(path: tuple[str, ...], to: object, field: str) -> None:
    assert [wrong.field for wrong in mismatches(SPEC, facts(changed(*path, to=to)))] == field.split()


@pytest.mark.parametrize(
    ("told", "condition"),
    [
        ((), "pending"),
        ((task("pending"),), "pending"),
        ((task("running"),), "running"),
        ((task("failed", "1", "shutdown"), task("running", "2")), "running"),
        ((task("failed", ExitCode=3),), "restarting"),
        ((task("complete", desired="shutdown", ExitCode=0),), "exited (0)"),
        ((task("invented"),), "exited"),
    ],
)
def test_how_it_goes_is_told_by_the_task_that_is_to_run(told: Sequence[dict[str, Any]], condition: str) -> None:
    assert facts(told=told).condition == condition


def test_failed_tasks_are_restarts_and_the_last_says_why() -> None:
    found = facts(told=(task("failed", "1", "shutdown"), task("rejected", "2", "shutdown"), task("failed", "3")))
    assert (found.restarts, found.error, found.state) == (2 + 1, "said so", ContainerState.RESTARTING)
    assert newest(()) is None


def test_an_image_that_is_not_here_makes_the_command_unknown_only_where_arguments_were_appended_to_its_own() -> None:
    appended, own = replace(SPEC, command=None, args=("1",)), replace(SPEC, command=None)
    assert [wrong.field for wrong in mismatches(appended, facts())] == ["spec"]
    assert [wrong.field for wrong in mismatches(own, facts())] == ["spec"]
    assert [wrong.field for wrong in mismatches(own, facts(changed("TaskTemplate", "ContainerSpec", "Args", to=None)))] == ["spec"]


def test_of_a_stranger_only_its_name_image_and_ports_are_kept() -> None:
    document = changed("Labels", to={})
    found = stranger_service(SERVICE.validate_python(document), "lab")
    assert (found.name, found.owner, found.whose) == ("lab-box-next", Owner.FOREIGN, "swarm service 'lab-box-next'")
    assert found.ports == SPEC.ports
    assert (found.env, found.command) == (None, None)
