"""The manifests of `examples/kubernetes/`, and what its page says of them."""

from typing import Any

import kubernetes_validate
import pytest
import yaml
from support.pages import REPOSITORY, blocks, text_of
from support.project import Project

FOLDER = REPOSITORY / "examples" / "kubernetes"
FILES = sorted(FOLDER.glob("*.yaml"))
# The oldest that is still maintained: a field that it knows the later ones know.
RELEASE = "1.33"

MANIFESTS = [
    pytest.param(manifest, id=f"{file.stem}-{manifest['kind']}-{manifest['metadata']['name']}")
    for file in FILES
    for manifest in yaml.safe_load_all(file.read_text(encoding="utf-8"))
]
JOBS = [each for each in MANIFESTS if "-Job-" in str(each.id)]
WITH_PODS = [each for each in MANIFESTS if "-Job-" in str(each.id) or "Deployment" in str(each.id)]


@pytest.mark.parametrize("manifest", MANIFESTS)
def test_a_manifest_follows_the_schema_of_its_api(manifest: dict[str, Any]) -> None:
    kubernetes_validate.validate(manifest, RELEASE, strict=True)


@pytest.mark.parametrize("manifest", JOBS)
def test_a_job_has_the_policy_of_the_page_and_a_command_that_runs(
    manifest: dict[str, Any], project: Project
) -> None:
    [policy] = [
        yaml.safe_load(block.text)
        for block in blocks(text_of("kubernetes"))
        if block.language == "yaml"
    ]
    pod = manifest["spec"]["template"]["spec"]

    assert manifest["spec"]["podFailurePolicy"] == policy["podFailurePolicy"]
    assert pod["restartPolicy"] == "Never"
    assert pod["terminationGracePeriodSeconds"] > 30
    name, *arguments = pod["containers"][0]["args"]
    project.script("anything", type="schema")
    assert (name, project.run(*arguments).exit_code) == ("mpt-tool", 0)


@pytest.mark.parametrize("manifest", WITH_PODS)
def test_a_pod_has_no_more_rights_than_it_needs(manifest: dict[str, Any]) -> None:
    pod = manifest["spec"]["template"]["spec"]
    [container] = pod["containers"]

    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["automountServiceAccountToken"] is False
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["securityContext"]["allowPrivilegeEscalation"] is False
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}


def test_the_job_names_the_scheduler_that_its_cluster_has() -> None:
    job, scheduler, service, worker, policy = yaml.safe_load_all((FOLDER / "dask.yaml").read_text())
    address = f"tcp://{service['metadata']['name']}:{service['spec']['ports'][0]['port']}"
    environment = job["spec"]["template"]["spec"]["containers"][0]["env"]

    assert {"name": "BATCH_EXECUTOR", "value": f"dask:{address}"} in environment
    assert address in worker["spec"]["template"]["spec"]["containers"][0]["args"]
    labels = scheduler["spec"]["template"]["metadata"]["labels"]
    assert service["spec"]["selector"].items() <= labels.items()
    [*_, of_job] = policy["spec"]["ingress"][0]["from"]
    of_pods = job["spec"]["template"]["metadata"]["labels"]
    assert of_job["podSelector"]["matchLabels"].items() <= of_pods.items()
