"""A newer Docker Engine than Debian has, with CDI: the rules for containers of `tests/conformance`, and cards by name."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator

import pytest
from container_rules import RULES, ContainerRule
from container_subject import only, run, until
from dockerd import CARDS, Dockerd, ImageRegistry, ask_rule, subject
from provision import located

from reconciler.containers import ContainerError
from reconciler.fleet import ContainerHealth, Healthcheck, looked_for, mismatches

SLICE = "MIG-cccc3333"


@pytest.fixture(scope="module")
def dockerd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dockerd]:
    program = located().dockerd
    if not program.exists():
        pytest.fail(f"{program} is missing; run `make real-extra`, or `python tests/real/provision.py --extra` first", pytrace=False)
    proxy = program.parent / "docker-proxy"
    specs = tmp_path_factory.mktemp("cdi")
    devices = [{"name": card, "containerEdits": {"env": [f"GIVEN_{card[4:]}=yes"]}} for card in (*CARDS, SLICE)]
    (specs / "nvidia.json").write_text(json.dumps({"cdiVersion": "0.5.0", "kind": "nvidia.com/gpu", "devices": devices}))
    daemon = Dockerd(cards=False, program=str(program), options=("--cdi-spec-dir", str(specs), f"--userland-proxy-path={proxy}"))
    yield daemon
    print(daemon.process.tail())
    daemon.stop()


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ImageRegistry]:
    found = ImageRegistry(tmp_path_factory.mktemp("image-registry"))
    yield found
    found.stop()


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: str(rule.name))
def test_conformance_of_a_newer_docker_engine(rule: ContainerRule, dockerd: Dockerd, request: pytest.FixtureRequest) -> None:
    ask_rule(rule, dockerd, request)


@pytest.mark.parametrize(("card", "says"), [(CARDS[0], "given yes . ."), (SLICE, "given . . yes")])
def test_cards_and_slices_are_given_by_their_cdi_names_and_one_that_is_not_listed_fails_at_the_start(
    card: str, says: str, dockerd: Dockerd
) -> None:
    async def ask() -> None:
        daemon = subject(dockerd)
        async with daemon.opened() as host:
            script = "echo given ${GIVEN_aaaa1111:-.} ${GIVEN_bbbb2222:-.} ${GIVEN_cccc3333:-.}; sleep 1000"
            spec = daemon.spec(cards=(card,), command=("sh", "-c", script))
            made = await run(host, spec)
            found = await only(host, spec)
            assert (found.cards, mismatches(spec, found)) == ((card,), ())
            (request,) = dockerd.client.get(f"/containers/{made}/json").json()["HostConfig"]["DeviceRequests"]
            assert (request["Driver"], request["DeviceIDs"]) == ("cdi", [f"nvidia.com/gpu={card}"])
            lines: tuple[str, ...] = ()
            while not lines:
                await host.changed(made, 0.1)
                lines = await host.logs(made)
            assert lines == (says,)
            other = daemon.spec("gpurec-other", address="engine.other@node", cards=("GPU-nobody-has",))
            with pytest.raises(ContainerError) as caught:
                await host.start(await host.create(other))
            assert caught.value.code == "card_unavailable"

    try:
        asyncio.run(ask())
    finally:
        dockerd.clear()


def test_a_health_check_may_look_often_while_it_starts(dockerd: Dockerd) -> None:
    async def ask() -> None:
        daemon = subject(dockerd)
        async with daemon.opened() as host:
            spec = daemon.spec(healthcheck=Healthcheck(("CMD", "true"), 60.0, 2.0, 30.0, 0.2, 2))
            await run(host, spec)
            found = await until(host, spec, lambda one: one.health is ContainerHealth.HEALTHY, "it is healthy before its interval is over")
            assert (found.healthcheck, mismatches(spec, found)) == (spec.healthcheck, ())

    try:
        asyncio.run(ask())
    finally:
        dockerd.clear()


def test_the_newest_api_is_spoken(dockerd: Dockerd) -> None:
    async def ask() -> None:
        async with subject(dockerd).opened() as host:
            found = await host.observe(looked_for("x", ()))
            assert found.daemon is not None
            assert (found.daemon.api, set(found.daemon.cdi_devices or ())) == (
                "1.51",
                {f"nvidia.com/gpu={card}" for card in (*CARDS, SLICE)},
            )

    asyncio.run(ask())
