{{/* Labels of every object. Names are fixed: there is one operator per cluster, and Helm refuses a second release. */}}
{{- define "regcache.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: regcache
{{ include "regcache.selector" . }}
{{- end }}

{{/* What selects the operator's pods and nothing else: the caches live in the same namespace. */}}
{{- define "regcache.selector" -}}
app.kubernetes.io/name: regcache-operator
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "regcache.image" -}}
{{- $repository := required "image.repository is not set: there is no public image yet; build one with `make image`, push it to a registry that your nodes reach, and name that here" .Values.image.repository -}}
{{- if .Values.image.digest -}}
{{ $repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ $repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end }}

{{/* The helpers' namespace is privileged and goes with the release: it must not be the operator's. */}}
{{- define "regcache.nodesNamespace" -}}
{{- if eq .Values.node.namespace .Release.Namespace -}}
{{- fail (printf "node.namespace is %q, and so is the release namespace: the helpers need a namespace of their own" .Release.Namespace) -}}
{{- end -}}
{{ .Values.node.namespace }}
{{- end }}
