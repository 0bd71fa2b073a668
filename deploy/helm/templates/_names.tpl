{{/* The labels by which pods are found. */}}
{{- define "usersig-gateway.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "usersig-gateway.labels" -}}
{{ include "usersig-gateway.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- define "usersig-gateway.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{/* gateway.toml. Strings are quoted as JSON quotes them, which TOML reads the same way. */}}
{{- define "usersig-gateway.config" -}}
[listen]
{{- if .Values.sidecar.enabled }}
workers = 1
max_connections = 500
{{- else }}
gateway = "0.0.0.0:8080"
admin   = "0.0.0.0:9901"
workers = 2
max_connections = 4000
{{- end }}

[limits]
buffered = {{ if .Values.sidecar.enabled }}"48MiB"{{ else }}"128MiB"{{ end }}
{{ range .Values.apps }}
[[app]]
{{- range $key, $value := . }}
{{ $key }} = {{ if eq $key "sdkappid" }}{{ int64 $value }}{{ else }}{{ toJson $value }}{{ end }}
{{- end }}
{{ end }}
{{- if .Values.sidecar.enabled }}
[ceiling]
share = {{ int .Values.sidecar.share }}
{{ end }}
{{- if .Values.redis.enabled }}
[ceiling.redis]
url = {{ toJson .Values.redis.url }}
{{- with .Values.redis.passwordFile }}
password_file = {{ toJson . }}
{{- end }}
max_replicas = {{ int .Values.redis.maxReplicas }}
{{ end }}
[drain]
{{- if .Values.sidecar.enabled }}
accept_for = "0s"
grace      = "10s"
{{- else }}
accept_for = "1s"
grace      = "25s"
{{- end }}
{{ .Values.extraConfig }}
{{- end }}

{{/*
A sidecar for the initContainers of a pod of yours; its volumes are usersig-gateway.sidecarVolumes. Both take the chart's
own context: in a chart that has this one as a dependency, .Subcharts over "usersig-gateway".
*/}}
{{- define "usersig-gateway.sidecar" -}}
name: usersig-gateway
image: {{ include "usersig-gateway.image" . }}
restartPolicy: Always
args: [serve, --config, /etc/usersig-gateway/gateway.toml]
startupProbe:
  exec: { command: [/usersig-gateway, healthcheck] }
  periodSeconds: 1
  timeoutSeconds: 6
  failureThreshold: 30
readinessProbe:
  exec: { command: [/usersig-gateway, healthcheck] }
  periodSeconds: 10
  timeoutSeconds: 6
resources:
  requests: { cpu: 50m, memory: 32Mi }
  limits: { memory: 128Mi }
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
volumeMounts:
  - name: usersig-gateway
    mountPath: /etc/usersig-gateway
    readOnly: true
  - name: usersig-gateway-keys
    mountPath: /run/secrets
    readOnly: true
{{- end }}

{{- define "usersig-gateway.sidecarVolumes" -}}
- name: usersig-gateway
  configMap:
    name: {{ .Release.Name }}-sidecar
- name: usersig-gateway-keys
  secret:
    secretName: {{ .Values.keysSecret }}
    defaultMode: 0440
{{- end }}
