"""deploy/kubernetes: held against the schemas of Kubernetes, against each other, and run as far as a
container is a command, an environment and a probe."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import machine
import pytest
import yaml
from launcher import program
from places import APPS, DEPLOY

kubernetes_validate = pytest.importorskip("kubernetes_validate")

FOLDER = DEPLOY / "kubernetes"
MANIFESTS = sorted(path for path in FOLDER.glob("*.yaml") if path.name != "kustomization.yaml")
VERSIONS = ("1.29", "1.31", "1.33", kubernetes_validate.latest_version())

Manifest = dict[str, Any]


def load(name: str) -> Manifest:
    (manifest,) = yaml.safe_load_all((FOLDER / f"{name}.yaml").read_text())
    assert isinstance(manifest, dict)
    return manifest


def container() -> Manifest:
    (found,) = load("deployment")["spec"]["template"]["spec"]["containers"]
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.stem)
def test_schema(path: Path, version: str) -> None:
    """Strictly: a field that Kubernetes does not know is a mistake."""
    for manifest in yaml.safe_load_all(path.read_text()):
        kubernetes_validate.validate(manifest, version, strict=True)


def test_a_mistake_is_seen() -> None:
    """The schemas are there: a slip in a field's name does not pass."""
    manifest = load("deployment")
    manifest["spec"]["template"]["spec"]["terminationGracePeriod"] = 60
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(manifest, VERSIONS[-1], strict=True)


def test_all_are_applied() -> None:
    assert sorted(load("kustomization")["resources"]) == [path.name for path in MANIFESTS]


def test_names_meet() -> None:
    """What refers to something refers to something that is there."""
    deployment = load("deployment")
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    name = deployment["metadata"]["name"]
    ports = {port["name"] for port in container()["ports"]}
    assert deployment["spec"]["selector"]["matchLabels"].items() <= labels.items()
    assert load("poddisruptionbudget")["spec"]["selector"]["matchLabels"].items() <= labels.items()
    target = load("horizontalpodautoscaler")["spec"]["scaleTargetRef"]
    assert (target["kind"], target["name"], target["apiVersion"]) == (
        deployment["kind"],
        name,
        deployment["apiVersion"],
    )
    service = load("service")
    assert service["spec"]["selector"].items() <= labels.items()
    assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports
    (rule,) = load("ingress")["spec"]["rules"]
    (path,) = rule["http"]["paths"]
    backend = path["backend"]["service"]
    assert backend["name"] == service["metadata"]["name"] != "prefork"
    assert backend["port"]["name"] in {port["name"] for port in service["spec"]["ports"]}
    assert {probe["port"] for probe in probes()} <= ports
    volumes = {volume["name"] for volume in deployment["spec"]["template"]["spec"]["volumes"]}
    assert {mount["name"] for mount in container()["volumeMounts"]} <= volumes


def probes() -> Iterator[Manifest]:
    for kind in ("startupProbe", "readinessProbe"):
        yield container()[kind]["httpGet"]


def test_a_pod_has_time_to_drain() -> None:
    words = container()["command"]
    delay = float(words[words.index("--drain-delay") + 1])
    graceful = 30.0  # --graceful-timeout's default
    pod = load("deployment")["spec"]["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] > delay + graceful
    assert "preStop" not in str(pod)
    # Readiness fails before the delay is over, should the endpoint's removal be all that takes the pod out.
    ready = container()["readinessProbe"]
    assert delay >= ready["periodSeconds"] * ready["failureThreshold"]


def test_resources_for_auto() -> None:
    """-w auto reads the limits."""
    words = container()["command"]
    assert words[words.index("-w") + 1] == "auto"
    assert container()["resources"]["limits"].keys() == {"cpu", "memory"}


def test_command_environment_and_probes() -> None:
    """As the kubelet would: start the command with its variables as the pod's user on a read-only root,
    ask the probes, send TERM."""
    if why := machine.why_not():
        pytest.skip(why)
    pod = load("deployment")["spec"]["template"]["spec"]
    user = pod["securityContext"]["runAsUser"]
    port = container()["ports"][0]["containerPort"]
    words = [
        {"project.wsgi:application": "behind:application", "10": "1"}.get(word, word)
        for word in container()["command"]
    ]
    words[0] = program()[0]
    env = " ".join(shlex.quote(f"{each['name']}={each['value']}") for each in container()["env"])
    asks = "\n".join(
        f"curl -fsS --retry 20 --retry-all-errors --retry-delay 1 http://127.0.0.1:{port}{probe['path']}"
        for probe in probes()
    )
    script = f"""
        mount -t tmpfs -o mode=1777 tmpfs /mnt
        mount -o remount,ro /
        cd {APPS}
        env TMPDIR=/mnt {env} setpriv --reuid {user} --regid {user} --clear-groups \\
            --no-new-privs --bounding-set=-all {shlex.join(words)} > /mnt/out 2> /mnt/err &
        {asks}
        kill -TERM $!
        wait $!
        cat /mnt/out /mnt/err
    """
    with machine.Machine() as place:
        done = place.run(script)
    assert done.returncode == 0, done.stdout
    assert '"GET' in done.stdout or '"method"' in done.stdout  # the access log is JSON on stdout
