"""gpurec's keys among a host's variables: values, templates, sharing, and everything that is refused."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import pytest

from reconciler.fleet import GIB, MIB, EngineId, EngineKind, SecretRef
from reconciler.workspace import Workspace

Load = Callable[..., Workspace]
Sentences = Callable[..., list[str]]


def hosts(text: str) -> str:
    return f"all:\n  hosts:\n    a: {text}\n"


def engine(text: str) -> str:
    return hosts('{engines: {ollama: {url: "http://a:1", ' + text + "}}}")


def test_workspace_every_key_of_a_host_is_read(load: Load) -> None:
    node = load(
        """
        all:
          hosts:
            a:
              address: 10.0.0.1
              ram: 32GiB
              disk: 1TB
              cost: 1.5
              docker: ssh://ops@a
              labels: {zone: b, tier: 1}
              limits: {max_vram_utilization: 80%, reserve_mb: 256, ram_reserve: 1GiB}
              probe: {via: declared}
              engines:
                g0: {kind: ollama, url: "http://a:1/", gpus: [0], memory_limit: 7GiB, max_concurrent_requests: 2, timeout: 2,
                     load_timeout: 5m, options: {num_batch: 8}, env: {A: 1}, auth: {bearer: env:TOKEN}, tls: {ca: /ca.pem}}
                llamacpp: {url: "https://a:2", gpus: all, tls: {verify: false}}
              gpus:
                - {index: 0, uuid: GPU-1, name: Card, vram_mb: 8192, compute_capability: 8.6, driver: 525.60, foreign: 300MiB}
                - {index: 1, vram: 12GiB, compute_capability: "89", limits: {vram_safety_margin: 0.8}}
        """
    ).fleet.nodes["a"]
    assert (node.address, node.ram, node.disk, node.cost, node.probe.via) == ("10.0.0.1", 32 * GIB, 10**12, 1.5, "declared")
    assert node.labels == {"zone": "b", "tier": "1"}
    assert (node.limits.max_vram_utilization, node.limits.reserve, node.limits.ram_reserve) == (Fraction(4, 5), 256 * MIB, GIB)
    first, second = node.engines
    assert (first.id, first.kind, first.url, first.gpus) == (EngineId("a", "g0"), EngineKind.OLLAMA, "http://a:1", (0,))
    assert (first.memory_limit, first.max_concurrent_requests, first.timeout, first.load_timeout) == (7 * GIB, 2, 2.0, 300.0)
    assert (first.bearer, first.tls.ca, first.env, first.options) == (SecretRef("env", "TOKEN"), "/ca.pem", {"A": "1"}, {"num_batch": 8})
    assert (second.kind, second.gpus, second.tls.verify) == (EngineKind.LLAMACPP, None, False)
    assert node.gpus is not None
    assert (node.gpus[0].vram, node.gpus[0].driver, node.gpus[0].compute_capability) == (8 * GIB, (525, 60), (8, 6))
    assert (node.gpus[0].uuid, node.gpus[0].foreign) == ("GPU-1", 300 * MIB)
    assert (node.gpus[1].compute_capability, node.gpus[1].limits.vram_safety_margin) == ((8, 9), Fraction(4, 5))


def test_workspace_no_cards_and_unknown_cards_differ(load: Load) -> None:
    nodes = load("all: {vars: {engines: {ollama: {url: 'http://{{ inventory_hostname }}:1'}}}, hosts: {a: {gpus: []}, b: {}}}").fleet.nodes
    assert nodes["a"].gpus == ()
    assert nodes["b"].gpus is None


def test_workspace_only_the_nested_keys_count_where_gpurec_is_set(load: Load) -> None:
    node = load(hosts('{ram: 1GiB, labels: [free], gpurec: {engines: {ollama: {url: "http://a:1"}}, disk: 2GiB}}')).fleet.nodes["a"]
    assert (node.ram, node.disk, len(node.engines)) == (None, 2 * GIB, 1)


def test_workspace_ansible_host_is_the_default_address(load: Load) -> None:
    text = hosts('{ansible_host: "10.1.1.{{ nr }}", nr: 7, engines: {ollama: {url: "http://{{ ansible_host }}:1"}}}')
    node = load(text).fleet.nodes["a"]
    assert (node.address, node.engines[0].url) == ("10.1.1.7", "http://10.1.1.7:1")


def test_workspace_ansibles_user_and_port_are_the_defaults_of_a_probe(load: Load) -> None:
    text = """
    all:
      vars: {ansible_user: ops, ansible_port: "{{ 2000 + 222 }}", engines: {ollama: {url: "http://x:1"}}}
      hosts:
        a: {}
        b: {probe: {user: root, port: 22}}
        c: {ansible_port: "2022", ansible_user: "{{ who }}", who: me}
        d: {ansible_user: , ansible_port: }
        e:2023: {}
    """
    nodes = load(text).fleet.nodes
    assert {name: (node.probe.user, node.probe.port) for name, node in nodes.items()} == {
        "a": ("ops", 2222),
        "b": ("root", 22),
        "c": ("me", 2022),
        "d": (None, None),
        "e": ("ops", 2023),
    }
    assert (load().fleet.nodes["a"].probe.user, load().fleet.nodes["a"].probe.port) == (None, None)


def test_workspace_what_only_ansible_can_read_is_no_default_and_no_error(load: Load) -> None:
    text = hosts(
        "{ansible_user: \"{{ lookup('env', 'USER') }}\", ansible_port: ssh, ansible_host: [a], engines: {ollama: {url: \"http://a:1\"}}}"
    )
    workspace = load(text)
    node = workspace.fleet.nodes["a"]
    assert (node.address, node.probe.user, node.probe.port) == ("a", None, None)
    assert sorted(warning.what.split(" is ")[0] for warning in workspace.warnings) == ["'ansible_host'", "'ansible_port'", "'ansible_user'"]


def test_workspace_templates_see_host_variables_and_groups(load: Load) -> None:
    nodes = load(
        """
        gpu:
          vars:
            base: "http://{{ inventory_hostname }}.{{ domain | default('lan') }}"
            cards: [{index: 0, vram: "{{ gib }}GiB"}]
            engines: {ollama: {url: "{{ base }}:11434", max_concurrent_requests: "{{ 2 if 'fast' in group_names else 1 }}"}}
            gpus: "{{ cards }}"
          hosts: {a: {gib: 8}, b: {gib: 24, domain: org}}
        fast: {hosts: {b: }}
        """
    ).fleet.nodes
    assert [nodes[name].engines[0].url for name in "ab"] == ["http://a.lan:11434", "http://b.org:11434"]
    assert [nodes[name].engines[0].max_concurrent_requests for name in "ab"] == [1, 2]
    assert [card.vram for name in "ab" for card in nodes[name].gpus or ()] == [8 * GIB, 24 * GIB]


def test_workspace_hosts_share_what_their_group_declares(load: Load) -> None:
    nodes = load(
        """
        gpu:
          vars:
            engines: {ollama: {url: "http://{{ inventory_hostname }}:11434", options: {num_batch: 8}}}
            gpus: [{index: 0, vram: 8GiB}]
          hosts: {"n[1:3]": , m: {own: 1}}
        """
    ).fleet.nodes
    assert nodes["n1"].gpus is nodes["n3"].gpus is nodes["m"].gpus
    assert nodes["n1"].engines[0].options is nodes["n3"].engines[0].options
    assert nodes["n3"].engines[0].url == "http://n3:11434"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (engine("gpu: [0]"), "inventories/x.yaml:3:47: unknown key 'gpu' of engine 'ollama'; did you mean 'gpus'?"),
        (engine("memory_limit: 7GX"), "the unknown unit 'GX'"),
        (engine("runtime: {systemd: x}"), "must be one of external, container, systemd"),
        (engine("runtime: kubernetes"), "a host says where its containers run; write `runtime: container`, and `docker:` at the host"),
        (engine("auth: {bearer: env:}"), "not a reference to a secret"),
        (engine("auth: {}"), "lacks 'bearer'"),
        (engine("timeout: 0"), "is not a duration that something can be waited for"),
        (engine("timeout: " + "9" * 35 + "d"), "is longer than 292 years"),
        (hosts("{ram: 99999999999GiB}"), "is more than any machine has"),
        (hosts("{ram: 0x" + "f" * 900 + "}"), "must be a size, this is"),
        (hosts("{limits: {max_vram_utilization: '1e-99999999'}}"), "is not a ratio"),
        (engine("options: {a: 99999999999999999999}"), "more than 64 bits"),
        (engine("timeout: soon"), "'soon' is not a duration"),
        (engine("gpus: [0, 0]"), "names card 0 twice"),
        (engine("max_concurrent_requests: 0"), "must be a whole number from 1"),
        (hosts('{engines: {gpu0: {url: "http://a:1"}}}'), "engine 'gpu0' needs a `kind`"),
        (hosts("{engines: {ollama: {}}}"), "engine 'ollama' lacks 'url'"),
        (hosts("{engines: {ollama: {url: 'ftp://a'}}}"), "'ftp://a' is not a URL of a server"),
        (hosts("{engines: {ollama: {url: 'http://a:99999'}}}"), "this is not a URL: its port is no number from 0 to 65535"),
        (hosts("{engines: {ollama: {url: 'http://a:x'}}}"), "this is not a URL: its port is no number from 0 to 65535"),
        (hosts("{engines: {ollama: {url: 'http://[::1'}}}"), "this is not a URL: what should be its host is none"),
        (hosts("{docker: 'tcp://[x'}"), "this is not a URL: what should be its host is none"),
        (hosts("{engines: {'a/b': {kind: ollama, url: 'http://a:1'}}}"), "holds '/' or '@'"),
        (hosts("{engines: [ollama]}"), "'engines' must be a mapping, this is a list"),
        (hosts("{limits: {max_vram_utilization: 90}}"), "90 is not a ratio between 0 and 1; write 90% or 0.9"),
        (hosts("{limits: {resrve: 1GiB}}"), "did you mean 'reserve'?"),
        (hosts("{limits: {reserve: 1GiB, reserve_mb: 4}}"), "in two spellings"),
        (hosts("{limits: {max_agents_per_gpu: many}}"), "must be a whole number from 0"),
        (hosts("{gpus: [{index: 0}, {index: 0}]}"), "card 0 is declared twice, first at inventories/x.yaml:3:16"),
        (hosts("{gpus: [{index: 0, uuid: G}, {index: 1, uuid: G}]}"), "card 'G' is declared twice"),
        (hosts("{gpus: [{index: 0, vram: 0}]}"), "3:33: 'vram' of card 0: nothing has 0 bytes of VRAM"),
        (hosts("{gpus: [{index: 0, vram_mb: 0}]}"), "nothing has 0 bytes of VRAM"),
        (hosts("{gpus: [{index: 0, vram: 8}]}"), "write a unit: 8MiB or 8GiB"),
        (hosts("{gpus: {index: 0}}"), "must be a list of cards, this is a mapping"),
        (hosts('{engines: {ollama: {url: "http://a:1", gpus: [3]}}, gpus: [{index: 0}]}'), "bound to card 3, which is not declared"),
        (hosts('{engines: {ollama: {url: "http://a:1", gpus: [0]}}, gpus: []}'), "bound to card 0, which is not declared"),
        (hosts("{probe: {via: ssh, user: -oProxyCommand=x}}"), "a user cannot begin with '-'"),
        (hosts("{probe: {via: shs}}"), "cannot be 'shs'"),
        (hosts("{gpurec: {engins: {}}}"), "unknown key 'engins' of gpurec; did you mean 'engines'?"),
        (hosts("{ram: !vault abc}"), "is tagged !vault, which gpurec cannot read"),
        (hosts("{ram: !unsafe 1GiB}"), "is tagged !unsafe"),
        (hosts("{ram: '{{ v }}', v: !vault abc}"), "the variable 'v' is tagged !vault"),
        (hosts("{ram: '{{ nope }}GiB'}"), "for host 'a': 'nope' is undefined"),
        (hosts("{ram: '{{ r }}', r: '{{ ram }}'}"), "refers to itself"),
        (hosts("{ram: '{{ v0 }}', " + ", ".join(f"v{n}: '{{{{ v{n + 1} }}}}'" for n in range(40)) + "}"), "needs more than 20 others"),
        (hosts("{address: \"{{ ''.__class__.__mro__ }}\"}"), "cannot be rendered for host 'a'"),
        (hosts("{address: \"{{ 'x' * 999999999 }}\"}"), "too large"),
        (hosts("{address: '{{ x | ipaddr }}', x: 1}"), "Ansible's filters and lookups are not"),
        (hosts('{engines: {ollama: {url: "{{ bad }}"}}, bad: "http://"}'), "engine 'ollama' of host 'a': 'http://' is not a URL"),
    ],
)
def test_workspace_a_wrong_host_key_is_refused(problems: Sentences, text: str, told: str) -> None:
    assert any(told in sentence for sentence in problems(text)), problems(text)


def test_workspace_a_literal_secret_is_refused_and_never_repeated(problems: Sentences) -> None:
    for text in (engine("auth: {bearer: hunter2}"), hosts("{engines: {ollama: {url: 'http://u:hunter2@a:1'}}}")):
        told = "\n".join(problems(text))
        assert "inventories/x.yaml:3:" in told
        assert "hunter2" not in told


def test_workspace_a_wrong_group_variable_is_one_error(problems: Sentences) -> None:
    text = "all: {vars: {ram: 7GX, engines: {ollama: {url: 'http://a:1'}}}, hosts: {'n[1:500]': }}"
    assert len(problems(text)) == 1


def test_workspace_all_problems_of_all_files_come_at_once_in_file_order(problems: Sentences) -> None:
    told = problems(hosts("{ram: x, disk: y}"), "version: 2\nmodels: {m: {contxt: 1}}\n")
    assert [sentence.split(": ")[0] for sentence in told] == [
        "desired/x.yaml:1:10",
        "desired/x.yaml:2:14",
        "inventories/x.yaml:3:14",
        "inventories/x.yaml:3:23",
    ]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            hosts('{engines: {ollama: {url: "http://a:1", gpus: [0, 0, 3, 4]}}, gpus: [{index: 0}]}'),
            ["names card 0 twice", "card 3, which is not declared", "card 4, which is not declared"],
        ),
        (
            hosts("{engines: {'a/b': {kind: ollama, url: x, gpus: 7}}}"),
            ["the engine name 'a/b'", "is not a URL", "must be `all` or a list"],
        ),
        (
            hosts("{labels: {' x': [1], y: {}}}"),
            ["a key of 'labels'", "must be a name, this is a list", "must be a name, this is a mapping"],
        ),
        (
            hosts("{gpus: [{vram: '{{ p }}'}, {vram: '{{ q }}'}], ram: '{{ r }}'}"),
            ["'p' is undefined", "'q' is undefined", "'r' is undefined"],
        ),
        (hosts("{gpus: [{index: -1, vram: 0}, {index: x}]}"), ["0 bytes", "-1", "'x'"]),
        (
            hosts("{engines: {ollama: {url: 5, timeout: x, tls: {verify: 3, ca: 4}, auth: {bearer: p, k: 1}, gpu: 1}}}"),
            ["'url'", "'timeout'", "'verify'", "'ca'", "not a reference to a secret", "unknown key 'k'", "unknown key 'gpu'"],
        ),
    ],
)
def test_workspace_all_that_is_wrong_with_a_host_is_told_at_once(problems: Sentences, text: str, told: list[str]) -> None:
    found = problems(text)
    assert len(found) == len(told), found
    for part in told:
        assert any(part in sentence for sentence in found), (part, found)


def test_workspace_all_that_is_wrong_with_the_models_is_told_at_once(problems: Sentences) -> None:
    text = """
    version: 1
    placement: {strategy: x, solvr: 1}
    priority_models: [[a], b, b]
    models:
      " bad": {context: 0}
      m: {context: 0, replicas: -1, on: nope, requires: {dtype: x, driver: y}, keep_alive: soon, vram: 0}
      n: [1]
    """
    told = problems(desired=text)
    parts = ["'x'", "'solvr'", "a list", "twice", "' bad'", "'context' of model ' bad'", "'context' of model 'm'", "'replicas'", "'nope'",
             "'dtype'", "'driver'", "'keep_alive'", "0 bytes", "model 'n'"]  # fmt: skip
    assert len(told) == len(parts), told
    for part in parts:
        assert any(part in sentence for sentence in told), (part, told)


def test_workspace_limits_that_lose_a_key_are_warned_about(load: Load) -> None:
    text = """
    all:
      vars: {limits: {max_vram_utilization: 90%, reserve: 1GiB}, engines: {ollama: {url: "http://a:1"}}}
      hosts: {a: {limits: {reserve: 2GiB}}}
    """
    workspace = load(text)
    (warning,) = workspace.warnings
    assert "this 'limits' replaces the one at inventories/x.yaml:2:10 and loses its max_vram_utilization" in warning.sentence()
    assert workspace.fleet.nodes["a"].limits.max_vram_utilization is None


@pytest.mark.parametrize("kind", ["ollama", "llamacpp", "vllm", "llamaswap"])
def test_workspace_every_engine_kind_is_taken_without_a_word(load: Load, kind: str) -> None:
    workspace = load(engine(f"kind: {kind}"))
    assert workspace.warnings == ()
    assert [str(one.kind) for one in workspace.fleet.nodes["a"].engines] == [kind]


def test_workspace_a_misspelt_engines_variable_is_warned_about(load: Load) -> None:
    warnings = load('all: {hosts: {a: {engine: {}}, b: {engines: {ollama: {url: "http://b:1"}}}}}').warnings
    assert ["engine" in warning.what for warning in warnings] == [True]


@pytest.mark.parametrize("key", ["engines", "gpus", "labels", "limits", "gpurec", "docker"])
def test_workspace_a_tagged_value_where_a_mapping_or_a_list_must_be_is_told_by_its_tag_alone(problems: Sentences, key: str) -> None:
    (told,) = problems(hosts(f"{{{key}: !vault c0ffee}}"))
    assert "tagged !vault, which gpurec cannot read" in told
    assert "c0ffee" not in told
