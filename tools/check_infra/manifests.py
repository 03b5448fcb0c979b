"""Checks of the Kubernetes objects that Kustomize builds from each overlay."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any

import kubernetes_validate
import yaml
from dagster import DagsterError
from dagster_k8s.container_context import K8sContainerContext

from isotrope import __version__
from tools.check_infra.files import DOCKERFILE, INFRA, schema_errors

OVERLAYS = INFRA / "kubernetes" / "overlays"
# Made by hand, by a secret store, or by Dagster's chart; infra/README.md lists them.
_MADE_ELSEWHERE = {
    "Secret": {
        "isotrope-object-store",
        "isotrope-api-keys",
        "isotrope-ray",
        "dagster-postgresql-secret",
    },
    "ConfigMap": {"dagster-instance"},
}
_KUBERNETES = "1.33"
Object = dict[str, Any]


def build_all() -> tuple[dict[str, list[Object]], list[str]]:
    """The objects of each overlay, and why an overlay could not be built here."""
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        return {}, ["Kubernetes objects: kubectl is absent (apt install kubernetes-client)"]
    built = {}
    for overlay in sorted(OVERLAYS.iterdir()):
        command = [kubectl, "kustomize", str(overlay)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{overlay}: {done.stderr}")
        built[overlay.name] = list(yaml.safe_load_all(done.stdout))
    return built, []


def problems(built: dict[str, list[Object]]) -> Iterator[str]:
    """What is wrong in the objects of the overlays."""
    for overlay, objects in built.items():
        for each in objects:
            where = f"overlay {overlay}: {each['kind']} {each['metadata']['name']}"
            yield from _schema_problems(each, where)
            for spec in pod_specs(each):
                yield from _pod_problems(spec, objects, where)
        yield from _selector_problems(objects, f"overlay {overlay}")


def pod_specs(each: Object) -> list[Object]:
    """The pods that an object makes, runs of Dagster included."""
    spec = each.get("spec", {})
    if each["kind"] == "RayCluster":
        groups = [spec["headGroupSpec"], *spec.get("workerGroupSpecs", [])]
        return [group["template"]["spec"] for group in groups]
    if each["kind"] == "CronJob":
        spec = spec["jobTemplate"]["spec"]
    return [spec["template"]["spec"]] if "template" in spec else []


def _schema_problems(each: Object, where: str) -> Iterator[str]:
    if each["kind"] == "RayCluster":
        schema = json.loads((INFRA / "schemas" / "raycluster.json").read_text())
        yield from schema_errors(each, schema, where)
        for spec in pod_specs(each):
            pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "ray"}, "spec": spec}
            yield from _schema_problems(pod, where)
        return
    try:
        kubernetes_validate.validate(each, _KUBERNETES, strict=True)
    except (kubernetes_validate.ValidationError, kubernetes_validate.SchemaNotFoundError) as error:
        yield f"{where}: {error}"


def _pod_problems(spec: Object, objects: list[Object], where: str) -> Iterator[str]:
    present = {(o["kind"], o["metadata"]["name"]) for o in objects}
    for kind, name in _references(spec):
        if (kind, name) not in present and name not in _MADE_ELSEWHERE.get(kind, ()):
            yield f"{where}: there is no {kind} {name}"
    volumes = {volume["name"] for volume in spec.get("volumes", [])}
    if not spec.get("securityContext", {}).get("runAsNonRoot"):
        yield f"{where}: the pod may run as root"
    for container in spec["containers"]:
        yield from _image_problems(container["image"], where)
        if container.get("securityContext", {}).get("allowPrivilegeEscalation") is not False:
            yield f"{where}: {container['name']} may gain privileges"
        if "memory" not in container.get("resources", {}).get("limits", {}):
            yield f"{where}: {container['name']} has no limit of memory"
        for mount in container.get("volumeMounts", []):
            if mount["name"] not in volumes:
                yield f"{where}: there is no volume {mount['name']}"
        for variable in container.get("env", []):
            if variable["name"] == "DAGSTER_CONTAINER_CONTEXT":
                yield from _context_problems(variable["value"], where)


def _references(spec: Object) -> Iterator[tuple[str, str]]:
    """(kind, name) of what a pod refers to."""
    if account := spec.get("serviceAccountName"):
        yield "ServiceAccount", account
    for volume in spec.get("volumes", []):
        if "configMap" in volume:
            yield "ConfigMap", volume["configMap"]["name"]
        if "secret" in volume:
            yield "Secret", volume["secret"]["secretName"]
    for container in spec["containers"]:
        for source in container.get("envFrom", []):
            for field, kind in (("secretRef", "Secret"), ("configMapRef", "ConfigMap")):
                if field in source:
                    yield kind, source[field]["name"]
        for variable in container.get("env", []):
            if key := variable.get("valueFrom", {}).get("secretKeyRef"):
                yield "Secret", key["name"]


def _image_problems(image: str, where: str) -> Iterator[str]:
    name, _, tag = image.partition(":")
    target = name.removeprefix("isotrope/")
    if f" AS {target}\n" not in DOCKERFILE.read_text():
        yield f"{where}: no Dockerfile makes the image {image}"
    elif tag != __version__:
        yield f"{where}: the image {image} is not of the version {__version__}"


def _context_problems(context: str, where: str) -> Iterator[str]:
    """Dagster's settings of the pods of runs."""
    try:
        K8sContainerContext.create_from_config(json.loads(context))
    except (ValueError, DagsterError) as error:
        yield f"{where}: DAGSTER_CONTAINER_CONTEXT: {error}"


def _selector_problems(objects: list[Object], where: str) -> Iterator[str]:
    """Services, budgets and autoscalers must find a Deployment."""
    deployments = {o["metadata"]["name"]: o for o in objects if o["kind"] == "Deployment"}
    labels = [d["spec"]["template"]["metadata"]["labels"] for d in deployments.values()]
    for each in objects:
        spec, title = each.get("spec", {}), f"{where}: {each['kind']} {each['metadata']['name']}"
        if each["kind"] == "HorizontalPodAutoscaler":
            if spec["scaleTargetRef"]["name"] not in deployments:
                yield f"{title}: there is no such Deployment"
        elif each["kind"] in ("Service", "PodDisruptionBudget"):
            wanted = spec["selector"].get("matchLabels", spec["selector"])
            if not any(wanted.items() <= own.items() for own in labels):
                yield f"{title}: selects no pod"
