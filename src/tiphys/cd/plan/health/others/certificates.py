"""Certificates and secrets: cert-manager, External Secrets, Sealed Secrets, 1Password."""

from __future__ import annotations

from tiphys.cd.plan.health.others.parts import When, degraded, healthy, judged, progressing, ready, status_of
from tiphys.cd.plan.health.reading import conditions as conditions_of
from tiphys.cd.plan.health.verdict import Health
from tiphys.cd.plan.objects import Object


def cluster_external_secret_health(obj: Object) -> Health:
    """Only the last condition counts."""
    rules = (
        When("Ready", "True", "Healthy"),
        When("PartiallyReady", "True", "Degraded"),
        When("NotReady", "True", "Degraded"),
    )
    return judged(conditions_of(status_of(obj))[-1:], rules) or progressing("Waiting for ClusterExternalSecret")


def certificate_health(obj: Object) -> Health:
    found = judged(conditions_of(status_of(obj)), (When("Issuing", "True", "Progressing"),))
    return found or ready("Waiting for certificate")(obj) or progressing()


def old_external_secret_health(obj: Object) -> Health:
    status = str(status_of(obj).get("status") or "")
    if status == "SUCCESS":
        return healthy("Fetched ExternalSecret.")
    if status.startswith("ERROR"):
        return degraded(status.replace("ERROR, ", ""))
    return progressing("Waiting for ExternalSecret.")


CHECKS = {
    ("bitnami.com", "SealedSecret"): ready("Waiting for Sealed Secret to be decrypted", "Synced"),
    ("cert-manager.io", "Certificate"): certificate_health,
    ("cert-manager.io", "ClusterIssuer"): ready("Initializing ClusterIssuer"),
    ("cert-manager.io", "Issuer"): ready("Initializing issuer"),
    ("certmanager.k8s.io", "Certificate"): ready("Waiting for certificate"),
    ("certmanager.k8s.io", "Issuer"): ready("Initializing issuer"),
    ("kubernetes-client.io", "ExternalSecret"): old_external_secret_health,
    ("onepassword.com", "OnePasswordItem"): ready("Waiting for controller to report status"),
    ("external-secrets.io", "ClusterExternalSecret"): cluster_external_secret_health,
    **{
        ("external-secrets.io", kind): ready(f"Waiting for {kind}")
        for kind in ("ClusterSecretStore", "ExternalSecret", "PushSecret", "SecretStore")
    },
}
