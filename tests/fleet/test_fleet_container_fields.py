"""A container against what is wanted, field by field."""

from __future__ import annotations

from dataclasses import replace

import pytest

from reconciler.fleet import (
    ALL_CARDS,
    CardCount,
    ContainerFacts,
    ContainerHealth,
    ContainerSpec,
    ContainerState,
    Healthcheck,
    Mount,
    Owner,
    PublishedPort,
    SecretRef,
    found_fields,
    mismatches,
    wanted_fields,
)

SPEC = ContainerSpec(
    "box",
    "local/busybox:1",
    "lab",
    "engine.box@node",
    args=("-p", "80"),
    env={"A": "1", "B": "two words", "K": SecretRef("env", "KEY")},
    ports=(PublishedPort(80, 8080), PublishedPort(81, 8081)),
    mounts=(Mount("data", "/data"),),
    shm_size=2**26,
    cpus=1.5,
    memory=2**30,
    cards=("GPU-1", "GPU-2"),
    devices=("/dev/kfd",),
    groups=("render",),
    healthcheck=Healthcheck(("CMD", "true"), interval=5.0, start_interval=0.5),
    labels={"team": "a"},
)
SEEN = ContainerFacts(
    id="1",
    name="box",
    image="docker.io/local/busybox:1",
    state=ContainerState.RUNNING,
    owner=Owner.OURS,
    whose="fleet 'lab'",
    ports=SPEC.ports[::-1],
    address=SPEC.address,
    spec=SPEC.hash,
    image_id="sha256:" + "1" * 64,
    image_now="sha256:" + "1" * 64,
    command=("httpd", "-f", "-p", "80"),
    entrypoint=("/bin/busybox",),
    image_command=("httpd", "-f"),
    image_entrypoint=("/bin/busybox",),
    env={"A": "1", "B": "two words"},
    secrets={"K": True},
    mounts=SPEC.mounts,
    network_mode="default",
    networks=("bridge",),
    restart="unless-stopped",
    shm_size=2**26,
    cpus=1.5,
    memory=2**30,
    cards=("GPU-2", "GPU-1"),
    devices=("/dev/kfd",),
    groups=("render",),
    healthcheck=Healthcheck(("CMD", "true"), interval=5.0),
    labels={"team": "a", "of-the-image": "x"},
    privileges=(),
    settings=(),
)


def test_a_container_as_wanted_has_the_fields_that_are_wanted() -> None:
    assert mismatches(SPEC, SEEN) == ()
    assert found_fields(SPEC, SEEN) == wanted_fields(SPEC)


@pytest.mark.parametrize(
    ("changes", "field", "found"),
    [
        ({"image": "local/busybox:2"}, "image", "local/busybox:2"),
        (
            {"image_now": "sha256:" + "2" * 64},
            "image",
            "docker.io/local/busybox:1 when it was sha256:111111111111, it is sha256:222222222222 now",
        ),
        ({"command": ("httpd", "-f")}, "command", "httpd -f"),
        ({"entrypoint": ("sh", "-c")}, "entrypoint", "sh -c"),
        ({"env": {"A": "2", "B": "two words"}}, "env", "A=2 'B=two words' 'K from env:KEY'"),
        ({"env": {"A": "1"}}, "env", "A=1 'K from env:KEY'"),
        ({"secrets": {"K": False}}, "env", "A=1 'B=two words' 'K differs from env:KEY'"),
        ({"ports": (PublishedPort(80, 8080),)}, "ports", "127.0.0.1:8080->80/tcp"),
        (
            {"ports": (PublishedPort(80, 8080, "0.0.0.0"), PublishedPort(81, 8081))},
            "ports",
            "0.0.0.0:8080->80/tcp, 127.0.0.1:8081->81/tcp",
        ),
        ({"mounts": (Mount("data", "/data", True),)}, "mounts", "data:/data:ro"),
        ({"network_mode": "host", "networks": ("host",)}, "networks", "host"),
        ({"networks": ("bridge", "extra")}, "networks", "extra"),
        ({"network_mode": "container:1", "networks": ()}, "networks", "that of another container"),
        ({"restart": "no"}, "restart", "no"),
        ({"shm_size": 2**20}, "shm_size", 2**20),
        ({"cpus": 1.0}, "cpus", 1.0),
        ({"memory": 2**20}, "memory", 2**20),
        ({"cards": ("GPU-1",)}, "cards", "GPU-1"),
        ({"cards": (ALL_CARDS,)}, "cards", "all"),
        ({"cards": ("any 1 of nvidia.com/gpu",), "adopted": "1"}, "cards", "any 1 of nvidia.com/gpu"),
        ({"cards": (CardCount(9, "nvidia.com/gpu"),), "adopted": "1"}, "cards", "any 9 of nvidia.com/gpu"),
        ({"devices": ()}, "devices", ""),
        ({"groups": ("video", "render")}, "groups", "render, video"),
        ({"healthcheck": None}, "healthcheck", "none"),
        ({"healthcheck": Healthcheck(("CMD", "true"), interval=6.0)}, "healthcheck", "CMD true interval=6 start_interval=0.5"),
        ({"labels": {"team": "b"}}, "labels", "team=b"),
        ({"privileges": ("privileged",)}, "privileges", "privileged"),
        ({"settings": ("user 1000", "read_only")}, "settings", "read_only, user 1000"),
        ({"state": ContainerState.EXITED, "exit_code": 3}, "state", "exited (3)"),
        ({"health": ContainerHealth.UNHEALTHY}, "state", "unhealthy"),
        ({"state": ContainerState.PAUSED}, "state", "paused"),
        ({"spec": "0"}, "spec", "0"),
        ({"spec": None}, "spec", "no label gpurec.spec"),
    ],
)
def test_a_field_that_was_changed_is_the_one_that_differs(changes: dict[str, object], field: str, found: object) -> None:
    (wrong,) = mismatches(SPEC, replace(SEEN, **changes))
    assert (wrong.field, wrong.found, wrong.restarts) == (field, found, field == "state")
    assert wrong.wanted == wanted_fields(SPEC)[field]


@pytest.mark.parametrize(
    "changes",
    [
        {"image_now": None},
        {"image_command": None, "image_entrypoint": None},
        {"secrets": {"K": None}},
        {"settings": None},
        {"networks": ("none",)},
        {"health": ContainerHealth.STARTING},
        {"healthcheck": SPEC.healthcheck},
        {"cpus": 1.4999999999},
    ],
)
def test_what_is_unknown_or_of_the_daemon_is_no_difference(changes: dict[str, object]) -> None:
    assert mismatches(SPEC, replace(SEEN, **changes)) == ()


def test_what_nobody_declared_may_be_what_the_image_and_the_daemon_say() -> None:
    spec = ContainerSpec("box", "local/busybox:1", "lab", "engine.box@node")
    seen = replace(
        SEEN,
        spec=spec.hash,
        command=("httpd", "-f"),
        ports=(),
        mounts=(),
        cpus=0.0,
        memory=0,
        cards=(),
        devices=(),
        groups=(),
        shm_size=7,
        env={},
        secrets={},
    )
    assert mismatches(spec, seen) == ()
    assert [wrong.field for wrong in mismatches(spec, replace(seen, memory=5))] == ["memory"]


def test_an_own_entrypoint_takes_the_images_command_away() -> None:
    spec = replace(SPEC, entrypoint=("sh",), args=())
    seen = replace(SEEN, spec=spec.hash, entrypoint=("sh",), command=())
    assert mismatches(spec, seen) == ()
    assert [wrong.found for wrong in mismatches(spec, replace(seen, command=("httpd", "-f")))] == ["httpd -f"]


def test_a_digest_is_the_image_under_whatever_name_it_was_made() -> None:
    digest = "sha256:" + "d" * 64
    spec = replace(SPEC, image=f"registry.lan:5000/box@{digest}")
    seen = replace(SEEN, spec=spec.hash, image="registry.lan:5000/box:1", digests=(f"registry.lan:5000/box@{digest}",))
    assert mismatches(spec, seen) == ()
    assert [wrong.field for wrong in mismatches(spec, replace(seen, digests=()))] == ["image"]


def test_of_a_container_that_was_not_looked_into_only_its_state_and_hash_can_differ() -> None:
    bare = ContainerFacts("1", "box", SPEC.image, ContainerState.RUNNING, Owner.OURS, "fleet 'lab'", spec=SPEC.hash)
    assert mismatches(SPEC, bare) == ()
