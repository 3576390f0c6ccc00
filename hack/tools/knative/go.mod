// What test/samples reads of Knative. Nothing here is built: the modules that it needs are not all on the proxy.
module github.com/meshfence/meshfence/hack/tools/knative

go 1.26.0

require knative.dev/serving v0.51.0
