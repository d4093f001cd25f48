# make demo   build berth and run its first container
# make test   everything: vet, unit tests, scripts, tutorial, kills (as root)
SHELL   := /bin/sh
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
LDFLAGS := -s -w -X berth/internal/version.buildVersion=$(VERSION)
GO      ?= go

export CGO_ENABLED = 0

.PHONY: build demo test vm lint bench bench-oci bench-pull bench-range bench-net fuzz clean

# Stages are programs of their own inside the big one: see internal/stage. Where
# the process begins when it is called as an OCI runtime: see internal/prelude.
PRELUDE := -E berth/internal/prelude.entry
OCI     := /var/lib/berth/bin/berth-oci-

build:
	for p in berth-shim berth-remote berth-net; do \
		$(GO) build -trimpath -buildvcs=false -ldflags "-s -w" -o internal/stage/$$p ./cmd/$$p && \
		sha256sum internal/stage/$$p | cut -c1-16 > internal/stage/$$p.sum || exit 1; done
	$(GO) build -trimpath -buildvcs=false -ldflags "$(LDFLAGS) $(PRELUDE)" -o internal/stage/berth-oci ./cmd/berth-oci
	sha256sum internal/stage/berth-oci | cut -c1-16 > internal/stage/berth-oci.sum
	$(GO) build -trimpath -tags stages -ldflags "$(LDFLAGS) $(PRELUDE) \
		-X berth/internal/prelude.program=$(OCI)$$(cat internal/stage/berth-oci.sum)" -o bin/berth ./cmd/berth

demo: build
	@echo '$$ bin/berth run --rm berth/hello'
	@bin/berth run --rm berth/hello
	@echo 'docs/guide.md is the whole tour.'

# The package tests are small; those below test/ start registries, containers
# and accounts, so they run one after the other and need root.
test: build
	test/packages.sh
	$(MAKE) -s lint
	$(GO) test ./cmd/... ./internal/...
	test/fuzz.sh 3s 'Fuzz(Unpack|TarReader|Decoder|Reader|Document|Parse|Part|Plan)$$'
	$(GO) test -p 1 -timeout 50m $$($(GO) list ./test/... | grep -v /test/vm$$)

# The tests once more on whole machines: Debian with systemd, accounts, old and
# new kernels, under emulation. The machine is made the first time. It is no part
# of test until one whole run of it has been timed.
vm: build
	test/packages.sh
	$(GO) test -timeout 60m -v ./test/vm

# gofmt and vet here; imports, sizes and forbidden calls are a test.
lint:
	@bad=$$(gofmt -l cmd internal test); test -z "$$bad" || { echo "gofmt would change: $$bad"; exit 1; }
	$(GO) vet ./...
	$(GO) test ./internal/architecture

# A second opinion that CI does not depend on: it is fetched.
staticcheck:
	$(GO) run honnef.co/go/tools/cmd/staticcheck@latest ./...

bench: build
	test/packages.sh
	$(GO) run ./test/bench
	$(GO) run ./test/bench -only oci

# berth oci beside runc and crun, on bundles made by hand.
bench-oci: build
	test/packages.sh
	$(GO) run ./test/bench -only oci

# The big image is made the first time: some minutes, 450 MB of downloads.
bench-pull: build
	test/packages.sh
	$(GO) run ./test/bench/pull

# Networks of containers beside a bare pair of interfaces, in a network
# namespace of its own (as root).
bench-net: build
	test/packages.sh
	$(GO) run ./test/bench/net

bench-range: build
	test/packages.sh
	$(GO) run ./test/bench/pull -what range -image big/weights -only berth
	$(GO) run ./test/bench/pull -what range -image big/single -only berth
	$(GO) run ./test/bench/pull -what cores -image big/single

# Each fuzz test in turn; make test runs the kept corpus of all and those that
# read what registries send for a moment.
FUZZTIME ?= 60s
fuzz:
	test/fuzz.sh $(FUZZTIME) $(FUZZ)

clean:
	rm -rf bin test/tmp
