"""The checks of infra/ find planted faults. `make check-infra` runs this with its tools."""

import copy

import pytest

pytest.importorskip("promql_parser", reason="`make check-infra` installs it")
pytest.importorskip("kubernetes_validate", reason="`make check-infra` installs it")

from tools.check_infra import commands, manifests, monitoring
from tools.check_infra.files import INFRA, schema_errors


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["isotrope", "run", "--drop", "d"], None),
        (["ray", "start", "--address=head:6379", "--block"], None),
        (["dagster", "api", "grpc-health-check", "-p", "4000"], None),
        (["pg_isready", "--anything"], None),
        (["isotrope", "runn"], "there is no command runn"),
        (["isotrope", "run", "--dorp", "d"], "No such option"),
        (["ray", "start", "--adress=head:6379"], "No such option"),
    ],
)
def test_commands_are_parsed_by_their_programs(words, problem):
    error = commands.usage_error(words)
    assert error is None if problem is None else problem in error


POD = {
    "serviceAccountName": "isotrope-server",
    "securityContext": {"runAsNonRoot": True},
    "volumes": [{"name": "settings", "configMap": {"name": "isotrope-corpus"}}],
    "containers": [
        {
            "name": "server",
            "image": f"isotrope/server:{manifests.__version__}",
            "resources": {"limits": {"memory": "1Gi"}},
            "securityContext": {"allowPrivilegeEscalation": False},
            "volumeMounts": [{"name": "settings", "mountPath": "/corpus"}],
        }
    ],
}
PRESENT = [
    {"kind": "ServiceAccount", "apiVersion": "v1", "metadata": {"name": "isotrope-server"}},
    {"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "isotrope-corpus"}},
]


def problems_of(pod: dict) -> str:
    template = {"metadata": {"labels": {"app": "a"}}, "spec": pod}
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "server"},
        "spec": {"selector": {"matchLabels": {"app": "a"}}, "template": template},
    }
    return "\n".join(manifests.problems({"test": [*PRESENT, deployment]}))


def test_a_sound_pod_has_no_problem():
    assert problems_of(POD) == ""


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda pod: pod.update(serviceAccountName="nobody"), "no ServiceAccount nobody"),
        (lambda pod: pod.update(securityContext={}), "may run as root"),
        (lambda pod: pod["containers"][0].update(image="isotrope/server:9"), "not of the version"),
        (lambda pod: pod["containers"][0].update(image="isotrope/web:1"), "no Dockerfile makes"),
        (lambda pod: pod["containers"][0].update(resources={}), "no limit of memory"),
        (
            lambda pod: pod["containers"][0].update(envFrom=[{"secretRef": {"name": "s"}}]),
            "no Secret s",
        ),
        (lambda pod: pod["containers"][0].update(imagee="x"), "imagee"),
        (lambda pod: pod.update(volumes=[]), "no volume settings"),
    ],
)
def test_planted_faults_of_pods_are_found(change, problem):
    pod = copy.deepcopy(POD)
    change(pod)
    assert problem in problems_of(pod)


def test_expressions_must_parse_and_read_metrics_that_exist():
    own = {"isotrope_requests_total"}

    def problems(expression: str) -> str:
        return "\n".join(monitoring._expression_problems(expression, own, "rule"))

    assert problems('sum by (status) (rate(isotrope_requests_total{route=~"a.*"}[5m])) > 1') == ""
    assert "nothing exports the metric isotrope_request_total" in problems(
        "rate(isotrope_request_total[5m])"
    )
    assert problems("rate(isotrope_requests_total[5m)")


def test_values_of_charts_are_checked_by_name_and_type():
    import json

    schema = json.loads((INFRA / "schemas" / "dagster-values.json").read_text())
    assert list(schema_errors({"dagsterWebserver": {"replicaCount": 1}}, schema, "values")) == []
    assert list(schema_errors({"dagsterWebserver": {"replicas": 1}}, schema, "values"))
    assert list(schema_errors({"dagsterWebserver": {"replicaCount": "1"}}, schema, "values"))
