"""What a plan says of a container: which of two ends or starts first when one takes the place of the other, and what nobody tells."""

from __future__ import annotations

import pytest

from reconciler.fleet import (
    ALL_CARDS,
    CardCount,
    ClusterSpec,
    ContainerFacts,
    ContainerSpec,
    ContainerState,
    DockerSpec,
    Owner,
    parse_mount,
)
from reconciler.planning.containers import untold_links, why_stopped_first

NEW = ContainerSpec("box", "i", "lab", "agent.a/box", cards=("GPU-1",))


@pytest.mark.parametrize(
    ("cards", "both_fit", "why"),
    [
        (None, True, "it is not known which cards the old one has"),
        ((ALL_CARDS,), True, "the old one has all of the cards"),
        ((CardCount(2),), True, "the old one has any 2 of the cards"),
        ((CardCount(1, "nvidia.com/gpu"),), True, "the old one has any 1 of nvidia.com/gpu"),
        (("any 2",), False, None),
        (("GPU-1",), False, "both have card GPU-1, which is not known to have room for both"),
        (("GPU-1",), True, None),
        (("GPU-2",), False, None),
        ((), False, None),
    ],
)
def test_both_run_at_once_only_where_their_cards_are_known_to_have_room(cards, both_fit, why):
    old = ContainerFacts("1", "box", "i", ContainerState.RUNNING, Owner.OURS, "fleet 'lab'", mounts=(), cards=cards)
    assert why_stopped_first(old, NEW, both_fit) == why


@pytest.mark.parametrize(
    ("docker", "way"),
    [
        (DockerSpec("unix:///var/run/docker.sock"), None),
        (DockerSpec("ssh://ops@box"), None),
        (DockerSpec("tcp://box:2376", ca="ca.pem"), "tcp://"),
        (DockerSpec("unix:///var/run/docker.sock", swarm=True), "a swarm"),
        (DockerSpec("kubernetes:", cluster=ClusterSpec("lab", "default")), "a cluster"),
    ],
)
def test_where_links_of_a_node_are_not_followed_the_plan_says_of_which_folders(docker, way):
    spec = ContainerSpec("box", "i", "lab", "agent.a/box", mounts=tuple(map(parse_mount, ("/srv/models:/m:ro", "named:/n", "tmpfs:/t"))))
    said = untold_links(spec, docker)
    assert said == ("" if way is None else f"! whether /srv/models of its host is a link to elsewhere is not known by way of {way}")
    assert untold_links(ContainerSpec("box", "i", "lab", "agent.a/box"), docker) == ""
