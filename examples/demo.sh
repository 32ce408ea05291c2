#!/bin/sh
# The demo: runs a real workflow with live progress, then says what to try next. BIN is where tiphys is installed.
set -eu
tiphys="${BIN:-.venv/bin}/tiphys"

echo '$ tiphys run examples/demo.yaml --log'
echo
"$tiphys" run examples/demo.yaml --log

cat <<END

That was a DAG with a loop over a list which a step had printed, a step that failed once and was tried again, a file
handed from step to step, and an exit handler: every step a process of its own, decided by the same engine that runs
on a cluster.

Try next:
  . .venv/bin/activate                                          # then 'tiphys' is on your PATH
  tiphys run examples/parameters.yaml --log -p name=you         # values from outside
  tiphys plan examples/demo.yaml                                # what the first decision would create, and why
  tiphys lint examples                                          # mistakes, with file, line and field
  tiphys up --detach; kubectl --kubeconfig ~/.local/state/tiphys/kubeconfig get workflows; tiphys down
  tiphys --help                                                 # everything else; docs/tour.md tells how it works
END
