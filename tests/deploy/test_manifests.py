"""Kubernetes' and Compose's files: they fit their schemas, and what they say agrees with the server and its image."""

import dataclasses
import os
import re
import socket
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from compose_spec import PyCompose

from model.image import MAX_PIXELS
from server.bodies import json_limit
from server.metrics import ServerMetrics, project_version
from server.setting_values import variable_of
from server.settings import ServerSettings
from server.wsgi import GunicornServer

ROOT = Path(__file__).parents[2]
KUBERNETES = ROOT / "deploy" / "kubernetes"
KUSTOMIZATION = yaml.safe_load((KUBERNETES / "kustomization.yaml").read_text())
NGINX = (ROOT / "deploy" / "nginx" / "nginx.conf").read_text()
NEWEST = "1.37"
OLDEST = "1.30"
"""Versions of Kubernetes for which the manifests are checked; the newest three are maintained at a time."""


@pytest.fixture
def compose() -> dict[str, Any]:
    parsed: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
    return parsed["services"]  # type: ignore[no-any-return]


def resource(name: str) -> Any:
    return yaml.safe_load((KUBERNETES / name).read_text())


@pytest.fixture
def pod() -> dict[str, Any]:
    template: dict[str, Any] = resource("deployment.yaml")["spec"]["template"]["spec"]
    return template


@pytest.fixture
def seconds_to_stop() -> int:
    """Returns how long gunicorn waits for its worker after SIGTERM, before it kills it."""
    settings = ServerSettings()
    listener = socket.create_server(("127.0.0.1", 0))
    descriptor = listener.fileno()
    seconds: int = GunicornServer(settings, listener, lambda: None).cfg.graceful_timeout
    os.close(descriptor)
    assert seconds >= settings.drain_seconds + settings.deadline_seconds
    return seconds


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
@pytest.mark.parametrize("name", KUSTOMIZATION["resources"])
def test_manifests_fit_the_schemas_of_kubernetes(name: str, version: str) -> None:
    kubernetes_validate.validate(resource(name), version, strict=True)


def test_a_misspelt_field_would_be_found() -> None:
    manifest = resource("deployment.yaml")
    manifest["spec"]["template"]["spec"]["terminationGraceSeconds"] = 30
    with pytest.raises(kubernetes_validate.ValidationError, match="terminationGraceSeconds"):
        kubernetes_validate.validate(manifest, NEWEST, strict=True)


def test_the_compose_file_fits_its_schema() -> None:
    text = (ROOT / "compose.yaml").read_text()
    assert PyCompose.from_yaml(text).service_names() == ["server", "nginx"]
    with pytest.raises(ValueError, match="read_onyl"):
        PyCompose.from_yaml(text.replace("read_only", "read_onyl"))


def test_every_manifest_is_applied_and_selects_the_same_pods() -> None:
    manifests = {name: resource(name) for name in KUSTOMIZATION["resources"]}
    assert set(manifests) | {"kustomization.yaml", "prometheus-adapter.yaml"} == {
        file.name for file in KUBERNETES.iterdir()
    }
    deployment = manifests["deployment.yaml"]
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert deployment["spec"]["selector"]["matchLabels"] == labels
    assert manifests["service.yaml"]["spec"]["selector"] == labels
    assert manifests["disruption-budget.yaml"]["spec"]["selector"]["matchLabels"] == labels
    target = manifests["autoscaler.yaml"]["spec"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) == ("Deployment", deployment["metadata"]["name"])


def test_pods_are_as_confined_as_the_restricted_standard_asks(pod: dict[str, Any]) -> None:
    (container,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert {"cpu", "memory"} == set(container["resources"]["requests"]) == set(container["resources"]["limits"])
    assert pod["enableServiceLinks"] is False, "a service called showtell would set SHOWTELL_PORT"


def test_containers_of_compose_are_confined(compose: dict[str, Any]) -> None:
    for name, service in compose.items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert {"mem_limit", "restart", "stop_grace_period"} <= set(service), name


def test_ports_and_users_agree(
    pod: dict[str, Any], compose: dict[str, Any], dockerfile: list[Any], environment: dict[str, str]
) -> None:
    port = str(ServerSettings().port)
    assert environment["SHOWTELL_PORT"] == port
    assert [item.text for item in dockerfile if item.name == "EXPOSE"] == [port]
    (variable,) = [item for item in pod["containers"][0]["env"] if item["name"] == variable_of("admin_port")]
    assert pod["containers"][0]["ports"] == [
        {"name": "http", "containerPort": int(port)},
        {"name": "admin", "containerPort": int(variable["value"])},
    ]
    annotations = resource("deployment.yaml")["spec"]["template"]["metadata"]["annotations"]
    assert annotations["prometheus.io/port"] == variable["value"]
    assert compose["server"]["expose"] == [port]
    assert f"server server:{port};" in NGINX
    (listen,) = re.findall(r"^ *listen (\d+);", NGINX, re.MULTILINE)
    assert compose["nginx"]["ports"] == [f"127.0.0.1:{listen}:{listen}"]
    user = next(item.text for item in dockerfile if item.name == "USER")
    assert f"{pod['securityContext']['runAsUser']}:{pod['securityContext']['runAsGroup']}" == user


def test_probes_ask_for_what_the_server_answers(pod: dict[str, Any]) -> None:
    (container,) = pod["containers"]
    paths = {name: container[f"{name}Probe"]["httpGet"] for name in ("startup", "liveness", "readiness")}
    assert {name: probe["path"] for name, probe in paths.items()} == {
        "startup": "/readyz",
        "liveness": "/livez",
        "readiness": "/readyz",
    }
    assert {probe["port"] for probe in paths.values()} == {"admin"}, "where no client can be in the way"


def test_nobody_is_killed_before_it_is_done(pod: dict[str, Any], compose: dict[str, Any], seconds_to_stop: int) -> None:
    (container,) = pod["containers"]
    seconds_before = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert pod["terminationGracePeriodSeconds"] > seconds_before + seconds_to_stop
    for service in compose.values():
        assert float(service["stop_grace_period"].removesuffix("s")) > seconds_to_stop
    (stop_timeout,) = re.findall(r"--stop-timeout (\d+)", (ROOT / "Dockerfile").read_text())
    assert float(stop_timeout) > seconds_to_stop


def test_nginx_has_the_limits_of_the_server() -> None:
    settings = ServerSettings()
    (megabytes,) = re.findall(r"client_max_body_size (\d+)m;", NGINX)
    assert 0 <= int(megabytes) * 1024**2 - json_limit(settings.max_body_bytes) < 1024**2
    (read,) = re.findall(r"proxy_read_timeout (\d+)s;", NGINX)
    assert float(read) > settings.request_seconds + settings.deadline_seconds
    assert MAX_PIXELS == settings.max_pixels == 50e6, "the memory limits are for photos of 50 megapixels"


def test_every_variable_is_a_setting(environment: dict[str, str]) -> None:
    known = {variable_of(item.name) for item in dataclasses.fields(ServerSettings)}
    files = [ROOT / "Dockerfile", ROOT / "compose.yaml", *KUBERNETES.iterdir(), ROOT / "deploy/nginx/nginx.conf"]
    used = {name for file in files for name in re.findall(r"\bSHOWTELL_\w+", file.read_text())}
    assert {name for name in environment if name.startswith("SHOWTELL_")} <= used <= known


def test_the_autoscaler_looks_at_a_metric_that_the_server_has() -> None:
    (metric,) = resource("autoscaler.yaml")["spec"]["metrics"]
    name = metric["pods"]["metric"]["name"]
    assert name in {family.name for family in ServerMetrics().registry.collect()}
    (rule,) = resource("prometheus-adapter.yaml")["rules"]["custom"]
    assert rule["name"] == {"matches": name}
    assert rule["seriesQuery"].startswith(name + "{")
    assert float(metric["pods"]["target"]["averageValue"]) < ServerSettings().max_waiting


def test_versions_of_the_image_agree(dockerfile: list[Any], compose: dict[str, Any], pod: dict[str, Any]) -> None:
    labels = next(item.words for item in dockerfile if item.name == "LABEL")
    assert f"org.opencontainers.image.version={project_version()}" in labels
    (image,) = KUSTOMIZATION["images"]
    assert f"{image['name']}:{image['newTag']}" == compose["server"]["image"] == f"show-and-tell:{project_version()}"
    assert pod["containers"][0]["image"] == image["name"]
