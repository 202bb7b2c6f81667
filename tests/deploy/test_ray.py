"""The job for KubeRay and its image: they fit their schemas, and what they say agrees with the project.

The schema of a RayJob is on no package index. `FIELDS` states the documented fields that a job like this one uses,
after KubeRay's reference; the pods within are held to Kubernetes' own schema.
"""

import re
import shlex
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from model.ray_cli import main
from server.metrics import project_version
from tests.deploy.test_locks import LOCKS, pins_of

RAY = Path(__file__).parents[2] / "deploy" / "ray"
DOCKERFILE = (RAY / "Dockerfile").read_text(encoding="utf-8")
KUBERNETES = "1.34"

_TEXTS = {"type": "object", "additionalProperties": {"type": "string"}}
_COUNT = {"type": "integer", "minimum": 0}
_POD = {"type": "object", "required": ["spec"]}


def _record(required: str, **fields: Any) -> dict[str, Any]:
    return {"type": "object", "properties": fields, "required": required.split(), "additionalProperties": False}


_HEAD = _record("template", template=_POD, rayStartParams=_TEXTS, serviceType={"type": "string"})
_WORKERS = _record(
    "groupName template",
    groupName={"type": "string"}, replicas=_COUNT, minReplicas=_COUNT, maxReplicas=_COUNT, numOfHosts=_COUNT,
    idleTimeoutSeconds=_COUNT, rayStartParams=_TEXTS, template=_POD,
)  # fmt: skip
_CLUSTER = _record(
    "headGroupSpec",
    rayVersion={"type": "string"}, enableInTreeAutoscaling={"type": "boolean"}, headGroupSpec=_HEAD,
    workerGroupSpecs={"type": "array", "items": _WORKERS},
)  # fmt: skip
_JOB = _record(
    "entrypoint rayClusterSpec",
    entrypoint={"type": "string"}, rayClusterSpec=_CLUSTER, backoffLimit=_COUNT, activeDeadlineSeconds=_COUNT,
    shutdownAfterJobFinishes={"type": "boolean"}, ttlSecondsAfterFinished=_COUNT, runtimeEnvYAML={"type": "string"},
    submissionMode={"enum": ["K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode"]},
)  # fmt: skip
FIELDS = _record(
    "apiVersion kind metadata spec",
    apiVersion={"const": "ray.io/v1"}, kind={"const": "RayJob"}, metadata={"type": "object", "required": ["name"]},
    spec=_JOB,
)  # fmt: skip


@pytest.fixture
def job() -> dict[str, Any]:
    parsed: dict[str, Any] = yaml.safe_load((RAY / "job.yaml").read_text(encoding="utf-8"))
    return parsed


def templates(job: dict[str, Any]) -> list[dict[str, Any]]:
    """Returns the templates of all pods of the cluster."""
    cluster = job["spec"]["rayClusterSpec"]
    return [cluster["headGroupSpec"]["template"], *(group["template"] for group in cluster["workerGroupSpecs"])]


def test_the_job_has_documented_fields_alone(job: dict[str, Any]) -> None:
    jsonschema.validate(job, FIELDS)
    job["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]["replica"] = 4
    with pytest.raises(jsonschema.ValidationError, match="replica"):
        jsonschema.validate(job, FIELDS)


def test_its_pods_fit_the_schema_of_kubernetes(job: dict[str, Any]) -> None:
    for template in templates(job):
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", **template["metadata"]}}
        kubernetes_validate.validate({**pod, "spec": template["spec"]}, KUBERNETES, strict=True)


def test_its_pods_are_confined_and_call_nobody(job: dict[str, Any]) -> None:
    for template in templates(job):
        (container,) = template["spec"]["containers"]
        assert template["spec"]["securityContext"]["runAsNonRoot"] is True
        assert container["securityContext"] == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
        assert {"cpu", "memory"} == set(container["resources"]["requests"]) == set(container["resources"]["limits"])
        assert {"name": "RAY_USAGE_STATS_ENABLED", "value": "0"} in container["env"]


def test_its_command_has_options_that_there_are(job: dict[str, Any]) -> None:
    program, *arguments = shlex.split(job["spec"]["entrypoint"])
    assert program == "showtell-ray"
    context = main.make_context(program, arguments)
    assert context.params["photos"]
    assert context.params["out"].startswith("s3://")


def test_job_image_lock_and_project_name_the_same_versions(job: dict[str, Any]) -> None:
    (ray,) = [pin for pin in pins_of(LOCKS["ray"]) if pin.name == "ray"]
    assert job["spec"]["rayClusterSpec"]["rayVersion"] == ray.version
    assert f"ARG BASE=rayproject/ray:{ray.version}-" in DOCKERFILE
    images = {template["spec"]["containers"][0]["image"] for template in templates(job)}
    assert images == {f"show-and-tell-ray:{project_version()}"}
    assert f'org.opencontainers.image.version="{project_version()}"' in DOCKERFILE
    assert re.search(r"--require-hashes .*locks/ray\.txt", DOCKERFILE.replace("\\\n", ""))
