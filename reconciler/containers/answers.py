"""What the answers of a Docker Engine say of containers, as values. Pure: no request is made here."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from reconciler.containers.shapes import (
    BoundPort,
    ConfigAnswer,
    DeviceRequest,
    HealthcheckAnswer,
    HostConfigAnswer,
    ImageAnswer,
    Info,
    Inspected,
    Listed,
    NetworksAnswer,
    RestartAnswer,
    StateAnswer,
)
from reconciler.engines.foreign_text import clean_name, clean_text
from reconciler.fleet import (
    ADDRESS_LABEL,
    ALL_CARDS,
    FLEET_LABEL,
    KIB,
    SPEC_LABEL,
    CardCount,
    ContainerFacts,
    ContainerHealth,
    ContainerState,
    DaemonFacts,
    Healthcheck,
    Mount,
    MountKind,
    Owner,
    PublishedPort,
    parse_mount,
)

CDI_NVIDIA = "nvidia.com/gpu="
_OWNERS_LABELS = (FLEET_LABEL, ADDRESS_LABEL, SPEC_LABEL)
_NEVER = "0001-01-01T00:00:00Z"
_NANOS = 1_000_000_000
_ORDINARY_IPC = frozenset({"private", "shareable", "none"})
_LONGEST = 32 * KIB
"""Characters of a declared value (a variable, an argument) that are compared. They are kept as they are: views escape what they show."""


def read_daemon(info: Info, api: str) -> DaemonFacts:
    """A daemon as facts, spoken to in `api`."""
    devices = info.DiscoveredDevices
    swarm = info.Swarm
    return DaemonFacts(
        clean_name(info.ServerVersion or "unknown"),
        api,
        tuple(sorted(clean_name(one) for one in info.Runtimes or ())),
        tuple(sorted(clean_name(one.ID) for one in devices if one.ID and one.Source == "cdi")) if devices is not None else None,
        clean_name(swarm.NodeID) if swarm is not None and swarm.NodeID and swarm.LocalNodeState == "active" else None,
        any("rootless" in one for one in info.SecurityOptions or ()),
    )


def owner_of(labels: Mapping[str, str] | None, fleet: str) -> tuple[Owner, str]:
    """Whose a container is, and how to say it."""
    found = labels or {}
    if (other := found.get(FLEET_LABEL)) is not None:
        if other == fleet:
            return Owner.OURS, f"fleet {fleet!r}"
        return Owner.OTHER_FLEET, f"fleet {clean_name(other)!r}"
    for label, word in (("com.docker.compose.project", "compose project"), ("com.docker.swarm.service.name", "swarm service")):
        if (name := found.get(label)) is not None:
            return Owner.FOREIGN, f"{word} {clean_name(name)!r}"
    return Owner.FOREIGN, "somebody else"


def bears_labels_of(image: ImageAnswer | None, labels: Mapping[str, str]) -> bool:
    """Whether an image has just the labels by which a container is ours: `docker commit` puts those of the container into it, and whatever
    somebody makes of it has them too."""
    of_image = (image.Config.Labels if image is not None and image.Config is not None else None) or {}
    return FLEET_LABEL in of_image and all(of_image.get(name) == labels.get(name) for name in _OWNERS_LABELS)


def stranger(listed: Listed, fleet: str) -> ContainerFacts:
    """All that is kept of a container that is not ours."""
    owner, whose = owner_of(listed.Labels, fleet)
    ports = [
        PublishedPort(one.PrivatePort or 0, one.PublicPort, clean_name(one.IP or ""), clean_name(one.Type or "tcp"))
        for one in listed.Ports or ()
        if one.PublicPort
    ]
    name = next(iter(names_of(listed)), listed.Id[:12])
    return ContainerFacts(listed.Id, name, clean_name(listed.Image or ""), _state(listed.State), owner, whose, tuple(ports))


def names_of(listed: Listed) -> list[str]:
    """Its names: without the slash, and without those that links of other containers give it (which hold one more)."""
    return [clean_name(name[1:]) for name in listed.Names or () if name.startswith("/") and "/" not in name[1:]]


def same_secrets(seen: Inspected, secrets: Mapping[str, str | None]) -> Mapping[str, bool | None]:
    """Whether variables have the values of these secrets; unknown where a secret could not be read (None)."""
    env = variables(seen.Config.Env)
    return {name: None if secret is None else env.get(name) == secret for name, secret in sorted(secrets.items())}


def read_container(
    seen: Inspected,
    fleet: str,
    kept: Collection[str],
    secrets: Mapping[str, bool | None],
    image: ImageAnswer | None,
    image_now: str | None,
) -> ContainerFacts:
    """A container of ours as facts. `kept` are the variables to keep by value, `secrets` says of others whether they are as they should be;
    `image` is what it was made of, `image_now` the id that its image's name means now."""
    labels = seen.Config.Labels or {}
    if bears_labels_of(image, labels):
        labels = {name: value for name, value in labels.items() if name not in _OWNERS_LABELS}
    owner, whose = owner_of(labels, fleet)
    host, config, state = seen.HostConfig, seen.Config, seen.State
    env = variables(config.Env)
    return ContainerFacts(
        id=seen.Id,
        name=clean_name(seen.Name.removeprefix("/")),
        image=clean_name(config.Image or ""),
        state=_state(state.Status),
        owner=owner,
        whose=whose,
        ports=_published(host.PortBindings),
        address=_label(labels, ADDRESS_LABEL),
        spec=_label(labels, SPEC_LABEL),
        image_id=clean_name(seen.Image) if seen.Image is not None else None,
        image_now=image_now,
        digests=tuple(sorted(clean_name(one) for one in (image.RepoDigests if image is not None else None) or ())),
        health=_health(state),
        exit_code=state.ExitCode if state.Status in ("exited", "dead") else None,
        oom_killed=state.OOMKilled,
        error=clean_text(state.Error) if state.Error else None,
        restarts=seen.RestartCount,
        created_at=_time(seen.Created),
        started_at=_time(state.StartedAt),
        finished_at=_time(state.FinishedAt),
        pid=state.Pid or None,
        command=words(config.Cmd),
        entrypoint=words(config.Entrypoint),
        image_command=words(image.Config.Cmd if image.Config is not None else None) if image is not None else None,
        image_entrypoint=words(image.Config.Entrypoint if image.Config is not None else None) if image is not None else None,
        env={name: _bounded(env[name]) for name in sorted(kept) if name in env},
        secrets=secrets,
        mounts=_mounts(host),
        network_mode=clean_name(host.NetworkMode) if host.NetworkMode is not None else None,
        networks=_networks(seen.NetworkSettings),
        restart=_restart(host.RestartPolicy),
        shm_size=host.ShmSize,
        cpus=_cpus(host),
        memory=host.Memory,
        cards=_cards(host.DeviceRequests or []),
        devices=tuple(sorted(clean_name(one.PathOnHost) for one in host.Devices or () if one.PathOnHost)),
        groups=tuple(sorted(clean_name(one) for one in host.GroupAdd or ())),
        healthcheck=read_healthcheck(config.Healthcheck),
        labels={_bounded(key): _bounded(value) for key, value in sorted(labels.items())},
        privileges=_privileges(host),
        settings=_settings(config, host, image),
        variables=_own_variables(config, image),
    )


def _own_variables(config: ConfigAnswer, image: ImageAnswer | None) -> tuple[str, ...]:
    """The names of the variables that the image does not have with the same value."""
    of_image = set((image.Config.Env if image is not None and image.Config is not None else None) or ())
    return tuple(sorted({clean_name(one.partition("=")[0]) for one in config.Env or () if one not in of_image and "=" in one}))


def _bounded(text: str) -> str:
    return text if len(text) <= _LONGEST else text[:_LONGEST] + "…"


def words(words: Sequence[str] | None) -> tuple[str, ...]:
    return tuple(_bounded(one) for one in words or ())


def _label(labels: Mapping[str, str], name: str) -> str | None:
    value = labels.get(name)
    return clean_name(value) if value is not None else None


def _state(word: str | None) -> ContainerState | None:
    return ContainerState(word) if word in set(ContainerState) else None


def _health(state: StateAnswer) -> ContainerHealth | None:
    if state.Health is None:
        return ContainerHealth.NONE
    return ContainerHealth(state.Health.Status) if state.Health.Status in set(ContainerHealth) else None


def _time(text: str | None) -> str | None:
    return clean_name(text) if text and text != _NEVER else None


def variables(env: list[str] | None) -> Mapping[str, str]:
    return {name: value for name, equals, value in (one.partition("=") for one in env or ()) if equals}


def _published(bindings: Mapping[str, list[BoundPort] | None] | None) -> tuple[PublishedPort, ...]:
    found = []
    for spelled, bound in sorted((bindings or {}).items()):
        port, _, protocol = spelled.partition("/")
        for one in bound or ():
            host = one.HostPort or ""
            if port.isdigit() and host.isdigit() and len(port) < 6 and len(host) < 6:
                found.append(PublishedPort(int(port), int(host), clean_name(one.HostIp or "") or "0.0.0.0", clean_name(protocol) or "tcp"))  # noqa: S104
    return tuple(found)


def _mounts(host: HostConfigAnswer) -> tuple[Mount, ...]:
    """What was asked for at its making; a volume that its image brings along is not in it."""
    found = []
    for bind in host.Binds or ():
        try:
            found.append(parse_mount(_bounded(bind)))
        except ValueError:
            found.append(Mount(_bounded(bind), "?", False, MountKind.BIND))
    for one in host.Mounts or ():
        kind = MountKind(one.Type) if one.Type in set(MountKind) else MountKind.BIND
        found.append(Mount(_bounded(one.Source or ""), _bounded(one.Target or ""), bool(one.ReadOnly), kind))
    found += [Mount("", _bounded(target), "ro" in options.split(","), MountKind.TMPFS) for target, options in (host.Tmpfs or {}).items()]
    return tuple(sorted(found, key=str))


def _networks(settings: NetworksAnswer | None) -> tuple[str, ...] | None:
    if settings is None or settings.Networks is None:
        return None
    return tuple(sorted(clean_name(name) for name in settings.Networks))


def _restart(policy: RestartAnswer | None) -> str | None:
    if policy is None:
        return None
    name = clean_name(policy.Name or "no")
    return f"{name}:{policy.MaximumRetryCount}" if policy.MaximumRetryCount else name


def _cpus(host: HostConfigAnswer) -> float | None:
    if host.NanoCpus:
        return host.NanoCpus / _NANOS
    if host.CpuQuota is not None and host.CpuQuota > 0:
        return host.CpuQuota / (host.CpuPeriod or 100_000)
    return 0.0 if host.NanoCpus is not None else None


def _cards(requests: list[DeviceRequest]) -> tuple[str | CardCount, ...]:
    found: list[str | CardCount] = []
    for one in requests:
        if one.DeviceIDs:
            found += [clean_name(name.removeprefix(CDI_NVIDIA)) for name in one.DeviceIDs]
        elif one.Count:
            found.append(ALL_CARDS if one.Count < 0 else CardCount(one.Count))
    return tuple(sorted(found, key=str))


def read_healthcheck(check: HealthcheckAnswer | None) -> Healthcheck | None:
    if check is None or not check.Test:
        return None
    return Healthcheck(
        words(check.Test),
        _seconds(check.Interval),
        _seconds(check.Timeout),
        _seconds(check.StartPeriod),
        _seconds(check.StartInterval),
        check.Retries or None,
    )


def _seconds(nanos: int | None) -> float | None:
    return nanos / _NANOS if nanos else None


def _privileges(host: HostConfigAnswer) -> tuple[str, ...]:
    found = ["privileged"] if host.Privileged else []
    modes = (("pid", host.PidMode, ()), ("ipc", host.IpcMode, _ORDINARY_IPC), ("uts", host.UTSMode, ()), ("userns", host.UsernsMode, ()))
    found += [f"{word} {clean_name(mode)}" for word, mode, ordinary in modes if mode and mode not in ordinary]
    found += [f"cap_add {clean_name(one)}" for one in host.CapAdd or ()]
    found += [f"security_opt {clean_name(one)}" for one in host.SecurityOpt or ()]
    found += [f"device_cgroup_rule {clean_name(one)}" for one in host.DeviceCgroupRules or ()]
    found += [f"volumes_from {clean_name(one)}" for one in host.VolumesFrom or ()]
    return tuple(sorted(found))


def _settings(config: ConfigAnswer, host: HostConfigAnswer, image: ImageAnswer | None) -> tuple[str, ...] | None:
    """What the files have no keys for, and no daemon fills in by itself, as words; None where the image, whose own are none, is not known.
    Ulimits, the log and the runtime are not among them: a daemon writes its own defaults there."""
    if image is None or image.Config is None:
        return None
    of_image = image.Config
    found = [f"user {clean_name(config.User or 'root')}"] if (config.User or "") != (of_image.User or "") else []
    if (config.WorkingDir or "/") != (of_image.WorkingDir or "/"):
        found.append(f"working_dir {clean_name(config.WorkingDir or '/')}")
    lists = (
        ("cap_drop", host.CapDrop),
        ("extra_hosts", host.ExtraHosts),
        ("links", host.Links),
        ("dns", host.Dns),
        ("dns_search", host.DnsSearch),
        ("sysctls", [f"{name}={value}" for name, value in (host.Sysctls or {}).items()]),
    )
    found += [f"{word} {clean_name(one)}" for word, values in lists for one in values or ()]
    found += ["read_only"] if host.ReadonlyRootfs else []
    found += [f"cpuset {clean_name(host.CpusetCpus)}"] if host.CpusetCpus else []
    found += [f"cpu_shares {host.CpuShares}"] if host.CpuShares else []
    found += [f"pids_limit {host.PidsLimit}"] if host.PidsLimit and host.PidsLimit > 0 else []
    return tuple(sorted(found))
