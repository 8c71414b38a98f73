"""The Kubernetes example: valid by the public schemas, whole, and in agreement with the programme's own settings."""

from __future__ import annotations

import copy
import os
import re
from pathlib import Path
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]
import pytest

from cli.health_port import PORTS
from cli.settings import Settings, collectors, read
from tests.deployed import CONFIG_IN_CONTAINER, DEPLOY, LONG_RUNNING, ROOT, documents

FILES = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
OBJECTS = [each for path in FILES for each in documents(path)]
SECRETS = "/run/secrets/coldaisle"
OLDEST, NEWEST = "1.33", "1.37"


def of_kind(*kinds: str) -> list[dict[str, Any]]:
    return [each for each in OBJECTS if each["kind"] in kinds]


def named(kind: str, namespace: str, name: str) -> dict[str, Any]:
    found = [each for each in of_kind(kind) if identity(each) == (kind, namespace, name)]
    assert found, f"no {kind} {name} in {namespace}"
    return found[0]


def identity(thing: dict[str, Any]) -> tuple[str, str, str]:
    metadata = thing["metadata"]
    return thing["kind"], metadata.get("namespace", ""), metadata["name"]


def pod_of(workload: dict[str, Any]) -> dict[str, Any]:
    spec: dict[str, Any] = workload["spec"]["template"]["spec"]
    return spec


WORKLOADS = {
    each["metadata"]["name"].removeprefix("coldaisle-"): each
    for each in of_kind("Deployment", "StatefulSet", "DaemonSet", "Job")
}


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
def test_every_object_is_valid_by_the_public_schema(version: str) -> None:
    assert len({identity(each) for each in OBJECTS}) == len(OBJECTS)
    for thing in OBJECTS:
        assert kubernetes_validate.validate(thing, version, strict=True) == version


def test_the_schema_would_notice_a_word_that_it_does_not_know() -> None:
    wrong = copy.deepcopy(WORKLOADS["store"])
    pod_of(wrong)["containers"][0]["readynessProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError, match="readynessProbe"):
        kubernetes_validate.validate(wrong, NEWEST, strict=True)


def test_every_object_belongs_to_a_namespace_that_is_made_first() -> None:
    spaces = {each["metadata"]["name"] for each in documents(FILES[0])}
    assert {each["kind"] for each in documents(FILES[0])} == {"Namespace"}
    assert {each["metadata"]["namespace"] for each in OBJECTS if each["kind"] != "Namespace"} == spaces


def test_each_role_runs_as_the_kind_of_workload_that_suits_it() -> None:
    kinds = {role: workload["kind"] for role, workload in WORKLOADS.items()}
    assert kinds == {
        "collect": "DaemonSet", "store": "Deployment", "score": "StatefulSet", "alert": "Deployment",
        "serve": "Deployment", "doctor": "Job",
    }  # fmt: skip
    image = documents(ROOT / "docker-compose.yml")[0]["services"]["score"]["image"]
    for role, workload in WORKLOADS.items():
        (container,) = pod_of(workload)["containers"]
        assert container["image"] == image
        words = ["doctor", "--fix"] if role == "doctor" else ["run", role]
        assert container["args"] == [*words, "--config", CONFIG_IN_CONTAINER]


def test_no_container_may_do_more_than_it_must() -> None:
    user = documents(ROOT / "docker-compose.yml")[0]["services"]["score"]["user"]
    for role, workload in WORKLOADS.items():
        pod = pod_of(workload)
        (container,) = pod["containers"]
        assert f"{pod['securityContext']['runAsUser']}:{pod['securityContext']['runAsGroup']}" == user, role
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
        }  # fmt: skip
        assert set(container["resources"]["requests"]) == {"cpu", "memory"}
        assert "memory" in container["resources"]["limits"]
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)


def test_only_the_collectors_see_their_node_and_may_not_write_to_it() -> None:
    for role, workload in WORKLOADS.items():
        pod = pod_of(workload)
        host = {each["name"]: each["hostPath"]["path"] for each in pod["volumes"] if "hostPath" in each}
        assert set(host.values()) == ({"/proc", "/sys"} if role == "collect" else set())
        mounts = [each for each in pod["containers"][0]["volumeMounts"] if each["name"] in host]
        assert len(mounts) == len(host)
        assert all(mount["readOnly"] is True for mount in mounts)
    levels = {
        each["metadata"]["name"]: each["metadata"]["labels"]["pod-security.kubernetes.io/enforce"]
        for each in of_kind("Namespace")
    }
    assert levels == {"coldaisle": "restricted", "coldaisle-collect": "privileged"}
    assert {role for role, each in WORKLOADS.items() if each["metadata"]["namespace"] == "coldaisle-collect"} == {
        "collect"
    }


def test_the_collectors_get_the_drivers_library_and_no_gpu() -> None:
    pod = pod_of(WORKLOADS["collect"])
    environment = {each["name"]: each.get("value") for each in pod["containers"][0]["env"]}
    assert pod["runtimeClassName"] == "nvidia"
    assert environment["NVIDIA_VISIBLE_DEVICES"] == "all"
    assert environment["NVIDIA_DRIVER_CAPABILITIES"] == "utility"
    assert not any("nvidia.com/gpu" in str(each) for each in pod["containers"][0]["resources"].values())


@pytest.mark.parametrize("role", LONG_RUNNING)
def test_every_role_is_asked_on_its_own_port_whether_it_lives_and_is_ready(role: str) -> None:
    (container,) = pod_of(WORKLOADS[role])["containers"]
    assert {"name": "health", "containerPort": PORTS[role]} in container["ports"]
    for probe, path in (("startupProbe", "/healthz"), ("livenessProbe", "/healthz"), ("readinessProbe", "/readyz")):
        assert container[probe]["httpGet"] == {"path": path, "port": "health"}
    assert pod_of(WORKLOADS[role])["terminationGracePeriodSeconds"] > 10


@pytest.mark.parametrize("role", sorted(WORKLOADS))
def test_what_a_pod_mounts_exists_and_every_volume_is_mounted(role: str) -> None:
    workload = WORKLOADS[role]
    pod, namespace = pod_of(workload), workload["metadata"]["namespace"]
    mounted = [each["name"] for each in pod["containers"][0]["volumeMounts"]]
    assert sorted(mounted) == sorted(each["name"] for each in pod["volumes"])
    for volume in pod["volumes"]:
        if "configMap" in volume:
            assert "coldaisle.toml" in named("ConfigMap", namespace, volume["configMap"]["name"])["data"]
        if "secret" in volume:
            assert named("Secret", namespace, volume["secret"]["secretName"])["stringData"]
        if "persistentVolumeClaim" in volume:
            claim = named("PersistentVolumeClaim", namespace, volume["persistentVolumeClaim"]["claimName"])
            assert claim["spec"]["accessModes"] == ["ReadWriteMany"]


def test_selectors_find_the_pods_that_they_are_meant_for() -> None:
    for role, workload in WORKLOADS.items():
        if role != "doctor":
            labels = workload["spec"]["template"]["metadata"]["labels"]
            assert workload["spec"]["selector"]["matchLabels"] == labels
            assert labels["app.kubernetes.io/component"] == role
            for each in pod_of(workload).get("topologySpreadConstraints", []):
                assert each["labelSelector"]["matchLabels"] == labels
    guarded = {}
    for budget in of_kind("PodDisruptionBudget"):
        (role,) = [
            role
            for role, each in WORKLOADS.items()
            if each["spec"]["template"]["metadata"]["labels"] == budget["spec"]["selector"]["matchLabels"]
            and identity(each)[1] == identity(budget)[1]
        ]
        guarded[role] = budget["spec"]["maxUnavailable"]
    assert guarded == {"store": 1, "score": 1, "alert": 1, "serve": 1}
    assert all(WORKLOADS[role]["spec"]["replicas"] > 1 for role in guarded)


def test_services_point_at_ports_that_are_there() -> None:
    score = WORKLOADS["score"]
    headless = named("Service", "coldaisle", score["spec"]["serviceName"])
    assert headless["spec"]["clusterIP"] == "None"
    for service in of_kind("Service"):
        (workload,) = [
            each
            for each in WORKLOADS.values()
            if each["spec"]["template"]["metadata"]["labels"] == service["spec"]["selector"]
        ]
        names = {each["name"] for each in pod_of(workload)["containers"][0]["ports"]}
        assert {each["targetPort"] for each in service["spec"]["ports"]} <= names


def settings_of(role: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """What a role reads in its pod, with the values of the example's secrets."""
    workload = WORKLOADS[role]
    pod, namespace = pod_of(workload), workload["metadata"]["namespace"]
    volumes = {each["name"]: each for each in pod["volumes"]}
    mounts = {each["mountPath"]: volumes[each["name"]] for each in pod["containers"][0]["volumeMounts"]}
    for key, value in named("Secret", namespace, mounts[SECRETS]["secret"]["secretName"])["stringData"].items():
        (folder / key).write_text(value)
    text = named("ConfigMap", namespace, mounts["/etc/coldaisle"]["configMap"]["name"])["data"]["coldaisle.toml"]
    (folder / "coldaisle.toml").write_text(text.replace(SECRETS, str(folder)))
    for name in [name for name in os.environ if name.startswith("COLDAISLE__")]:
        monkeypatch.delenv(name)
    for each in pod["containers"][0].get("env", []):
        monkeypatch.setenv(each["name"], each.get("value", "from-the-pod").replace(SECRETS, str(folder)))
    return read(folder / "coldaisle.toml")


@pytest.mark.parametrize("role", sorted(WORKLOADS))
def test_a_role_reads_its_settings_from_what_its_pod_has(
    role: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_of(role, tmp_path, monkeypatch)
    assert settings.bus.kind == "kafka"
    assert settings.bus.kafka.security == "sasl_tls"
    assert settings.bus.kafka.ca_file == tmp_path / "kafka-ca.pem"
    assert role in ("doctor", "serve") or settings.health.host == "0.0.0.0"  # the kubelet is not in the pod
    mounted = {each["mountPath"]: each["name"] for each in pod_of(WORKLOADS[role])["containers"][0]["volumeMounts"]}
    assert str(settings.storage.folder) in mounted
    if role == "collect":
        assert settings.node == "from-the-pod"
        assert settings.storage.influx is None
        kinds = {each.kind: each.config for each in collectors(settings, role)}
        assert set(kinds) == {"host", "nvml"}
        assert {getattr(kinds["host"], key) for key in ("proc", "sys")} <= {Path(each) for each in mounted} | set(
            mounted
        )
        (spool,) = [each["emptyDir"] for each in pod_of(WORKLOADS[role])["volumes"] if each["name"] == "spool"]
        assert settings.spool.max_bytes < int(spool["sizeLimit"].removesuffix("Mi")) << 20
        return
    assert settings.storage.metrics == "influx"
    assert settings.storage.influx is not None
    assert settings.storage.influx.queue.folder is None
    assert settings.storage.incidents.startswith("postgresql://")
    assert (settings.serve.token is not None) == (role == "serve")
    if role == "score":
        assert settings.bus.kafka.instance == "from-the-pod"
        assert mounted[f"{settings.storage.folder}/snapshots"] == "snapshots"
        assert settings.snapshots.folder in (None, settings.storage.folder / "snapshots")


def test_the_network_lets_through_what_the_settings_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for role in ("store", "collect"):
        folder = tmp_path / role
        folder.mkdir()
        with monkeypatch.context() as patched:
            settings = settings_of(role, folder, patched)
        namespace = WORKLOADS[role]["metadata"]["namespace"]
        allowed = {
            (source["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"], port["port"])
            for policy in of_kind("NetworkPolicy")
            if identity(policy)[1] == namespace and policy["spec"]["podSelector"] == {}
            for rule in policy["spec"].get("egress", [])
            for source in rule.get("to", [])
            for port in rule["ports"]
        }
        wanted = {_place(server) for server in settings.bus.kafka.servers}
        if settings.storage.influx is not None:
            wanted |= {_place(settings.storage.influx.url), _place(settings.storage.incidents + ":5432")}
        assert wanted <= allowed
        assert allowed - wanted == {("kube-system", 53)}


def _place(address: str) -> tuple[str, int]:
    """The namespace and the port of an address within the cluster."""
    matched = re.search(r"([a-z-]+)\.([a-z-]+)\.svc(?:/\w+)?:(\d+)$", address)
    assert matched, address
    return matched[2], int(matched[3])


def test_everything_not_said_is_forbidden_on_the_network() -> None:
    for namespace in ("coldaisle", "coldaisle-collect"):
        assert any(
            policy["spec"]["podSelector"] == {} and set(policy["spec"]["policyTypes"]) == {"Ingress", "Egress"}
            for policy in of_kind("NetworkPolicy")
            if identity(policy)[1] == namespace
        )
    for policy in of_kind("NetworkPolicy"):
        for role in [policy["spec"]["podSelector"].get("matchLabels", {}).get("app.kubernetes.io/component")]:
            assert role is None or role in WORKLOADS


def test_the_example_of_the_secrets_holds_none() -> None:
    for secret in of_kind("Secret"):
        assert all(value.startswith("replace-me") for value in secret["stringData"].values())
    for config in of_kind("ConfigMap"):
        for line in config["data"]["coldaisle.toml"].splitlines():
            if re.match(r"\w*(password|token|secret)\w* =", line):
                assert f'"${{file:{SECRETS}/' in line
