"""Containers as values: their hash, their labels, their references, and whose they are."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest

from reconciler.fleet import (
    ContainerFacts,
    ContainerFile,
    ContainerSpec,
    ContainerState,
    Healthcheck,
    Mount,
    MountKind,
    NodeContainers,
    Owner,
    PublishedPort,
    SecretRef,
    full_image,
    looked_for,
    parse_mount,
    parse_published,
    registry_of,
    watched_env,
)

PLAIN = ContainerSpec("box", "local/busybox:1", "lab", "engine.box@node")
OTHERS = {
    "name": "other",
    "image": "local/busybox:2",
    "fleet": "other",
    "address": "engine.other@node",
    "command": ("httpd",),
    "args": ("-f",),
    "entrypoint": ("/bin/sh",),
    "env": {"A": "1"},
    "ports": (PublishedPort(80, 8080),),
    "mounts": (Mount("data", "/data"),),
    "networks": ("host",),
    "restart": "no",
    "shm_size": 2**26,
    "cpus": 1.5,
    "memory": 2**30,
    "cards": ("GPU-1",),
    "devices": ("/dev/kfd",),
    "groups": ("render",),
    "healthcheck": Healthcheck(("CMD", "true")),
    "files": (ContainerFile("/a", "text"),),
    "labels": {"a": "b"},
    "stop_timeout": 3.0,
    "privileged": True,
}
WHOSE = {"adopts": "web", "all_cards": True}
"""Fields that say whose a container is, and nothing of how it is to be."""


def test_every_field_of_a_spec_changes_its_hash() -> None:
    assert OTHERS.keys() == {field.name for field in fields(ContainerSpec)} - WHOSE.keys()
    hashes = {replace(PLAIN, **{name: value}).hash for name, value in OTHERS.items()}
    assert len(hashes | {PLAIN.hash}) == len(OTHERS) + 1
    assert replace(PLAIN, **WHOSE).hash == PLAIN.hash


def test_a_hash_is_the_same_in_every_version_that_reads_the_same_files() -> None:
    assert PLAIN.hash == "057ba6f92ae2a0f672c45e74d410c72897bf319b6a555456fb23c2bae2602af5"
    assert replace(PLAIN, command=None, networks=(), restart="unless-stopped").hash == PLAIN.hash


def test_the_order_of_what_has_none_does_not_change_the_hash() -> None:
    ports = (PublishedPort(80, 8080), PublishedPort(81, 8081))
    assert replace(PLAIN, ports=ports, env={"A": "1", "B": "2"}).hash == replace(PLAIN, ports=ports[::-1], env={"B": "2", "A": "1"}).hash
    assert replace(PLAIN, command=("a", "b")).hash != replace(PLAIN, command=("b", "a")).hash


def test_a_secret_counts_by_its_reference_and_is_no_text_of_the_same_letters() -> None:
    assert replace(PLAIN, env={"A": SecretRef("env", "X")}).hash != replace(PLAIN, env={"A": "env:X"}).hash


def test_the_labels_of_its_owner_cannot_be_overwritten() -> None:
    spec = replace(PLAIN, labels={"gpurec.fleet": "stolen", "mine": "1"})
    assert spec.all_labels == {"gpurec.fleet": "lab", "gpurec.address": "engine.box@node", "gpurec.spec": spec.hash, "mine": "1"}


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("busybox", "docker.io/library/busybox:latest"),
        ("local/busybox:1", "docker.io/local/busybox:1"),
        ("index.docker.io/library/busybox:1", "docker.io/library/busybox:1"),
        ("ghcr.io/a/b", "ghcr.io/a/b:latest"),
        ("127.0.0.1:5000/a", "127.0.0.1:5000/a:latest"),
        ("localhost/a:2", "localhost/a:2"),
        ("a/b:1@sha256:" + "0" * 64, "docker.io/a/b@sha256:" + "0" * 64),
    ],
)
def test_references_that_mean_one_image_are_one(written: str, meant: str) -> None:
    assert full_image(written) == meant
    assert full_image(meant) == meant
    assert registry_of(written) == meant.partition("/")[0]


@pytest.mark.parametrize(
    ("text", "mount"),
    [
        ("ollama:/root/.ollama", Mount("ollama", "/root/.ollama")),
        ("/srv/models:/models:ro", Mount("/srv/models", "/models", True, MountKind.BIND)),
        ("/srv//models/:/models:rw", Mount("/srv/models", "/models", False, MountKind.BIND)),
        ("tmpfs:/tmp/x", Mount("", "/tmp/x", False, MountKind.TMPFS)),
    ],
)
def test_a_mount_is_read_as_docker_writes_it(text: str, mount: Mount) -> None:
    assert parse_mount(text) == mount


@pytest.mark.parametrize("text", ["a", "a:b", "./a:/b", "/a/../b:/c", "a:/b:z", "a:/", "a:/b/../..", "a b:/c", "a:/b:ro:ro"])
def test_what_is_no_mount_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not|is no|holds|neither"):
        parse_mount(text)


@pytest.mark.parametrize(
    ("text", "port"),
    [
        ("80", PublishedPort(80, 80, "10.0.0.1")),
        ("8080:80/udp", PublishedPort(80, 8080, "10.0.0.1", "udp")),
        ("127.0.0.1:8080:80", PublishedPort(80, 8080, "127.0.0.1")),
        ("[::1]:8080:80", PublishedPort(80, 8080, "::1")),
    ],
)
def test_a_port_is_read_as_docker_writes_it(text: str, port: PublishedPort) -> None:
    assert parse_published(text, "10.0.0.1") == port


@pytest.mark.parametrize("text", ["", "x", "0:80", "80:70000", "80/sctp", "1:2:3:4x", ":80"])
def test_what_is_no_port_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not|not from"):
        parse_published(text)


def test_ports_are_published_only_where_the_container_has_a_network_of_its_own() -> None:
    ports = (PublishedPort(80, 8080),)
    assert replace(PLAIN, ports=ports).published == ports
    assert replace(PLAIN, ports=ports, networks=("host",)).published == ()
    assert replace(PLAIN, ports=ports, networks=("none",)).published == ()


def test_a_variable_that_is_a_secret_in_any_spec_is_never_read_by_value() -> None:
    watched = watched_env(replace(PLAIN, env={"A": "1", "B": "2"}), replace(PLAIN, env={"A": SecretRef("env", "X")}))
    assert watched.values == {"B"}
    assert watched.secrets == {"A": SecretRef("env", "X")}


def test_a_look_asks_for_names_ports_and_variables_of_all_that_is_wanted() -> None:
    wanted = looked_for("lab", (replace(PLAIN, env={"A": "1"}, ports=(PublishedPort(80, 8080),)),))
    assert (wanted.names, wanted.ports, wanted.env["engine.box@node"].values) == ({"box"}, {8080}, {"A"})


def _facts(name: str, owner: Owner, address: str | None = None, *ports: PublishedPort) -> ContainerFacts:
    return ContainerFacts("1", name, "i", ContainerState.RUNNING, owner, "somebody", ports, address)


def test_who_holds_the_name_or_the_port_is_told_unless_it_is_the_container_itself() -> None:
    spec = replace(PLAIN, ports=(PublishedPort(80, 8080),))
    own = _facts("box", Owner.OURS, spec.address, PublishedPort(80, 8080))
    named, other = _facts("box", Owner.FOREIGN), _facts("x", Owner.OTHER_FLEET, spec.address, PublishedPort(1, 8080, "0.0.0.0"))
    udp = _facts("y", Owner.FOREIGN, None, PublishedPort(1, 8080, protocol="udp"))
    assert NodeContainers((own, named, other, udp)).in_the_way(spec) == (named, other)
    assert NodeContainers((own, named, other, udp)).of(spec.address) == (own,)


@pytest.mark.parametrize(
    ("changes", "condition"),
    [
        ({}, "running"),
        ({"state": ContainerState.EXITED, "exit_code": 1}, "exited (1)"),
        ({"state": ContainerState.EXITED, "exit_code": 137, "oom_killed": True}, "exited (out of memory)"),
        ({"state": ContainerState.RESTARTING}, "restarting"),
        ({"state": ContainerState.CREATED}, "created"),
    ],
)
def test_the_condition_of_a_container_is_one_word_and_why(changes: dict[str, object], condition: str) -> None:
    assert replace(_facts("box", Owner.OURS), **changes).condition == condition
