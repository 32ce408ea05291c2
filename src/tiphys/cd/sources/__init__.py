"""From an Application's source to Kubernetes objects: which revision, which files, which tool, what it prints.

    urls, revisions, paths   the rules on repository URLs, revisions and paths; pure
    environment              the build environment and its substitution
    detection                which tool renders a directory; parameter override files
    manifests                YAML and JSON streams, as kubectl takes them apart
    directory, jsonnet, helm, kustomize, plugins
                             one module per tool: `(request, place) -> objects and the commands that were run`
    tools                    running foreign programs: deadline, limits, no secrets in the environment
    render                   the whole of it: one request in, `Rendered` out

The behaviour is that of argo-cd's repo server (reposerver/repository, util/git, util/helm, util/kustomize).
"""
