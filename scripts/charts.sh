#!/usr/bin/env bash
# charts.sh : both charts with the real helm: lint, render, package, and values that must be refused.
set -euo pipefail
cd "$(dirname "$0")/../charts"
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
status=0
bad() { echo "!! $*" >&2; status=1; }

render() { # render CHART ARGUMENT... : to stdout; nothing may be said beside it
  helm template regcache "$@" --namespace regcache-system 2>"$tmp/err" || { cat "$tmp/err" >&2; return 1; }
  [ ! -s "$tmp/err" ] || bad "helm has something to say: $(cat "$tmp/err")"
}

refused() { # refused WORD --set ... : these values must not render, and the message must hold WORD
  local word=$1
  shift
  if helm template regcache regcache -f regcache/ci/values.yaml -n regcache-system "$@" >/dev/null 2>"$tmp/err"; then
    bad "accepted: $*"
  elif ! grep -q -- "$word" "$tmp/err"; then
    bad "refused without a word of \"$word\": $*"
    cat "$tmp/err"
  fi
}

# The API's one copy lies in the chart, and crds/ holds links to it: Helm prints a line for each link that it finds in
# a chart. That the copy is what the code says is a test of the operator.
for file in ../crds/*.yaml; do
  [ -L "$file" ] || bad "$file is no link into the chart: move it to charts/regcache-crds/templates and link to it"
done
diff <(ls ../crds) <(cd regcache-crds/templates && printf "%s\n" *.yaml) >&2 || bad "crds/ and the chart hold different files"

helm lint --strict --quiet regcache-crds || bad "helm lint regcache-crds"
helm lint --strict --quiet regcache -f regcache/ci/values.yaml || bad "helm lint regcache"

render regcache-crds >"$tmp/crds" || bad "regcache-crds does not render"
grep -q '^kind: CustomResourceDefinition' "$tmp/crds" || bad "regcache-crds holds no CustomResourceDefinition"
grep -q 'helm.sh/resource-policy: keep' "$tmp/crds" || bad "helm uninstall would remove the API"

render regcache -f regcache/ci/values.yaml >"$tmp/plain" || bad "regcache does not render"
render regcache -f regcache/ci/full-values.yaml >"$tmp/full" || bad "regcache does not render with every value set"
same=$(grep -Fxf <(grep -- '- --' "$tmp/plain") "$tmp/full" | grep -o -- '--[a-z-]*' | xargs)
[ "$same" = "--namespace --admin-address" ] || bad "the same, whatever the values: $same"
for word in 'regcache@sha256:' 'imagePullPolicy: Always' 'replicas: 2' 'name: pull-secret' image-pull-secret=pull-secret \
  upstream-ca=regcache-upstream-ca bm90IGEgcmVhbCBvbmU= kubernetes.io/arch control-plane podAntiAffinity; do
  grep -q -- "$word" "$tmp/full" || bad "a value has no effect: $word"
done
diff <(grep '^kind:' "$tmp/plain") <(grep -v '^kind: ConfigMap' "$tmp/full" | grep '^kind:') ||
  bad "a value changes which objects there are, and it is not upstreamCA"

refused image.repository --set image.repository=
refused image --set image.tga=1
refused digest --set image.digest=sha256:12
refused pullPolicy --set image.pullPolicy=Sometimes
refused rolout --set rolout.soak=1m
refused soak --set rollout.soak=60
refused canaryPercent --set rollout.canaryPercent=0
refused canaryPercent --set rollout.canaryPercent=101
refused gatewayPort --set node.gatewayPort=80
refused metricsPort --set-string node.metricsPort=x
refused certsDir --set node.certsDir=certs.d
refused certsDir --set node.certsDir=/etc/../root
refused regionLabel --set 'regionLabel=my region'
refused logFormat --set logFormat=yaml
refused "namespace of their own" --set node.namespace=regcache-system
refused distribution --set distribution.image=null
refused upstreamCA --set upstreamCA=corp-ca.crt
refused nodeSelector --set nodeSelector.gpu=1

for chart in regcache-crds regcache; do
  helm package "$chart" --destination "$tmp" >"$tmp/out" 2>&1 || { bad "helm package $chart"; cat "$tmp/out"; }
done
helm template regcache "$tmp"/regcache-crds-*.tgz -n regcache-system 2>&1 | diff "$tmp/crds" - || bad "the packaged regcache-crds differs"

exit $status
