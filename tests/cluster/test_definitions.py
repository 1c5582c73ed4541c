"""Definitions of clusters: they mean what they say, agree with each other, and are closed."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import ray
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

from cluster.jobs import STUDY
from cluster.shipment import ROOMS, ROOT
from cluster.submit import GRACEFUL_STOP
from experiments.cli import parse_recipe

HERE = ROOT / "cluster" / "definitions"
FIXTURES = Path(__file__).parent / "fixtures"


def documents(name: str) -> list[Any]:
    return list(yaml.safe_load_all((HERE / name).read_text()))


CLUSTER = documents("kuberay-cluster.yaml")
JOB = documents("kuberay-job.yaml")
LAUNCHER = documents("ray-up.yaml")[0]
DOCKERFILE = (HERE / "Dockerfile").read_text()


def custom(kind: str) -> Any:
    """The resource of a kind."""
    return next(one for one in CLUSTER + JOB if one["kind"] == kind)


def validator(kind: str) -> jsonschema.Draft202012Validator:
    schemas = yaml.safe_load((FIXTURES / "kuberay.yaml").read_text())
    return jsonschema.Draft202012Validator(schemas[kind] | {"$defs": schemas["$defs"]})


def pods() -> list[Any]:
    spec = custom("RayCluster")["spec"]
    return [group["template"] for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"])]


def walk(value: Any) -> Iterator[dict[str, Any]]:
    """All mappings in a document."""
    if isinstance(value, dict):
        yield value
    for one in value.values() if isinstance(value, dict) else value:
        if isinstance(one, dict | list):
            yield from walk(one)


@pytest.mark.parametrize("kind", ["RayCluster", "RayJob"])
def test_kuberay_takes_its_resources(kind: str) -> None:
    validator(kind).validate(custom(kind))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("authOptions", "mode"), "tokens"),
        (("headGroupSpec", "rayStartParams", "num-cpus"), 0),
        (("headGroupSpec", "replica"), 1),
        (("headGroupSpec", "template", "spec", "containers"), []),
    ],
)
def test_the_schema_finds_mistakes(path: tuple[str, ...], value: Any) -> None:
    broken = yaml.safe_load(yaml.safe_dump(custom("RayCluster")))
    inner = broken["spec"]
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    assert not validator("RayCluster").is_valid(broken)


def test_ray_takes_the_launchers_config() -> None:
    validate_config(prepare_config(LAUNCHER))


def test_the_launcher_asks_for_no_node_type_that_there_is_not() -> None:
    assert LAUNCHER["head_node_type"] in LAUNCHER["available_node_types"]
    assert LAUNCHER["max_workers"] >= max(
        one.get("max_workers", 0) for one in LAUNCHER["available_node_types"].values()
    )


def test_every_cluster_wants_a_token() -> None:
    assert custom("RayCluster")["spec"]["authOptions"] == {"mode": "token"}
    assert "ENV RAY_AUTH_MODE=token" in DOCKERFILE
    for commands in ("head_start_ray_commands", "worker_start_ray_commands"):
        starts = [one for one in LAUNCHER[commands] if "ray start" in one]
        assert starts and all("RAY_AUTH_MODE=token ray start" in one for one in starts)
    assert "/home/ray/.ray/auth_token" in LAUNCHER["file_mounts"]


def test_nothing_is_bound_to_all_interfaces_or_shown_outside() -> None:
    head = custom("RayCluster")["spec"]["headGroupSpec"]
    assert head["serviceType"] == "ClusterIP" and not head.get("enableIngress")
    start = " ".join(LAUNCHER["head_start_ray_commands"])
    assert "--dashboard-host=127.0.0.1" in start
    for path in HERE.iterdir():
        assert "0.0.0.0" not in path.read_text(), path.name


def test_secrets_are_only_named() -> None:
    for one in walk(CLUSTER + JOB):
        name = str(one.get("name", ""))
        if re.search("PASSWORD|USERNAME|TOKEN|KEY", name):
            assert set(one) == {"name", "valueFrom"}, name
    password = custom("RayCluster")["spec"]["gcsFaultToleranceOptions"]["redisPassword"]
    assert set(password) == {"valueFrom"}


def test_pods_are_locked_down_and_see_the_results() -> None:
    claims = {one["metadata"]["name"] for one in CLUSTER if one["kind"] == "PersistentVolumeClaim"}
    for pod in pods():
        spec = pod["spec"]
        assert spec["securityContext"]["runAsNonRoot"]
        volumes = {one["name"]: one["persistentVolumeClaim"] for one in spec["volumes"]}
        assert {one["claimName"] for one in volumes.values()} == claims
        for container in spec["containers"]:
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
            assert [one["name"] for one in container["volumeMounts"]] == list(volumes)
            assert container["resources"]["requests"] == container["resources"]["limits"]


def test_only_the_clusters_own_pods_reach_it() -> None:
    policy = next(one for one in CLUSTER if one["kind"] == "NetworkPolicy")["spec"]
    label = {"ray.io/cluster": custom("RayCluster")["metadata"]["name"]}
    assert policy["podSelector"] == {"matchLabels": label}
    assert all("from" in rule for rule in policy["ingress"])


def test_versions_agree() -> None:
    assert custom("RayCluster")["spec"]["rayVersion"] == ray.__version__
    images = {one["image"] for one in walk(CLUSTER) if "image" in one}
    images |= {LAUNCHER["docker"]["image"], *re.findall(r"-t (\S+) \.", DOCKERFILE)}
    project = (ROOT / "pyproject.toml").read_text()
    version = re.search(r'^version = "(.+)"', project, re.MULTILINE)
    assert version and images == {f"REGISTRY/clowder:{version[1]}"}
    torch = re.search(r"^torch==\S+", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert torch and f"ARG TORCH={torch[0]}\n" in DOCKERFILE


def test_the_image_has_all_rooms_and_what_it_copies_is_there() -> None:
    copied = {
        word
        for line in re.findall(r"^COPY (.+)", DOCKERFILE, re.MULTILINE)
        for word in line.split()[:-1]
    }
    assert set(ROOMS) <= copied
    allowed = {
        line[1:].rstrip("/")
        for line in (HERE / "Dockerfile.dockerignore").read_text().splitlines()
        if line.startswith("!")
    }
    assert copied == allowed
    assert all((ROOT / name).exists() for name in copied)


def test_the_declared_job_is_one_that_the_command_line_takes() -> None:
    spec = custom("RayJob")["spec"]
    program, verb, *words = shlex.split(spec["entrypoint"])
    assert (program, verb) == ("clowder", "sweep")
    recipe, resume = parse_recipe(verb, words)
    assert resume == "auto"
    assert spec["metadata"] == {STUDY: recipe.study}
    assert recipe.run.storage.startswith("/mnt/clowder")
    variables = yaml.safe_load(spec["runtimeEnvYAML"])["env_vars"]
    assert variables == GRACEFUL_STOP
    assert spec["clusterSelector"]["ray.io/cluster"] == custom("RayCluster")["metadata"]["name"]
