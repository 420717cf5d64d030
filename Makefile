# instar: everything that is done with this source, by name. `make` lists it.
#
# build, run, test and install need Go, git and make; check needs a C compiler
# too, for the race detector.

GO     ?= go
PREFIX ?= /usr/local

# What `instar version` prints: the tag, and how far from it this source is.
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)

# The version comes from git above, so Go need not look for itself.
BUILD := $(GO) build -trimpath -buildvcs=false

# The systems that instar is built for, and those that `make check` compiles.
TARGETS := linux/amd64 linux/arm64 windows/amd64 darwin/arm64

# Absolute, since a service may be started in any folder.
RUN := $(CURDIR)/build/run

.DEFAULT_GOAL := help

.PHONY: help
help: ## list the targets
	@sed -n 's/^\([a-z][a-z-]*\):.*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | \
		while IFS='	' read -r target text; do printf '  make %-13s %s\n' "$$target" "$$text"; done

.PHONY: build
build: ## build bin/instar
	$(BUILD) -ldflags '-s -w -X main.version=$(VERSION)' -o bin/instar ./cmd/instar

.PHONY: install
install: build ## install the binary below PREFIX (/usr/local)
	install -d "$(DESTDIR)$(PREFIX)/bin"
	install -m 755 bin/instar "$(DESTDIR)$(PREFIX)/bin/instar"

# The release of the helloworld profile: the software that it deploys.
.PHONY: helloworld
helloworld:
	$(BUILD) -o build/helloworld/bin/helloworld-server ./profiles/helloworld/server

# Root and state are below build/, so that neither root's rights nor folders of
# the system are needed. By exec, make waits for instar at Ctrl-C.
.PHONY: run
run: build helloworld ## bring the helloworld instance up in the foreground, until Ctrl-C
	@mkdir -p "$(RUN)"
	@exec bin/instar up profiles/helloworld --name helloworld --state-dir "$(RUN)/state" \
		--root "$(RUN)/root" --release "$(CURDIR)/build/helloworld"

.PHONY: test
test: ## pass the tests; needs neither root nor a network
	$(GO) test -timeout 60m ./...

# Boots a throw-away machine over this one's files, and installs what that takes.
.PHONY: test-hosts
test-hosts: ## pass the tests that need a real service manager; needs root
	.ci/hosts/run

# Writes init scripts of instances of its own, and removes them.
.PHONY: test-sysv
test-sysv: ## pass the tests of services under init scripts, here; needs root
	.ci/inits/run here

# Each boots a machine of its own, with files that debootstrap fetches once.
.PHONY: test-openrc
test-openrc: ## pass them in a machine that OpenRC boots; needs root and a network
	.ci/inits/run openrc

.PHONY: test-sysvinit
test-sysvinit: ## pass them in a machine that System V's init boots; likewise
	.ci/inits/run sysv

.PHONY: test-wine
test-wine: ## pass those of Windows' services under wine, and try the program there
	.ci/wine

# BENCH="-quick", "-units 1000", "-only peers", "-dir FOLDER": see -help.
# With random cases, each of them many times as often as `make test` does, and
# every system call instead of some: an hour. PROVE=10 is ten times that.
PROVE ?= 1
FUZZ ?= builtins:FuzzParam builtins:FuzzPath cmd/instar:FuzzParamsFile runtime/state:FuzzState runtime/state:FuzzDecode runtime/state:FuzzCache runtime/state:FuzzPlanned \
	runtime/request:FuzzRequest runtime/fsys:FuzzName runtime/service/native:FuzzUnit runtime/planfile:FuzzPlanFile
.PHONY: prove
prove: ## try the invariants thoroughly: every kill, every power cut, 200,000 swaps, each fuzzer for a minute
	INSTAR_PROVE=$(PROVE) $(GO) test -timeout 5h -v -run 'TestExact|TestPathIndependent|TestKilled|TestPowerCut|TestContained|TestBundledProfiles' ./cmd/instar
	@set -e; for f in $(FUZZ); do \
		$(GO) test -run '^$$' -fuzz "^$${f#*:}$$" -fuzztime 60s -fuzzminimizetime 5s "./$${f%:*}"; \
	done

.PHONY: sabotage
sabotage: ## break instar on purpose, one line at a time, and see that the tests notice
	$(GO) run .ci/sabotage.go

.PHONY: bench
bench: build ## measure against limits and peers, as docs/benchmarks.md has it
	$(BUILD) -o build/bench ./cmd/bench
	build/bench -instar bin/instar $(BENCH)

.PHONY: bench-quick
bench-quick: ## the same in half a minute: up to 1,000 units, no node, no peers
	@$(MAKE) --no-print-directory bench BENCH=-quick

.PHONY: bench-node
bench-node: ## measure nodes with many instances: BENCH="-instances 100,2000"
	@$(MAKE) --no-print-directory bench BENCH="-only many $(BENCH)"

.PHONY: bench-go
bench-go: ## run the benchmarks of single packages
	$(GO) test -run '^$$' -bench . -benchmem ./...

.PHONY: check
check: format vet staticcheck race docs-current cross ## all that a change must pass, as CI runs it

.PHONY: format
format: ## say which Go files gofmt would change
	@unformatted=$$(gofmt -l .) && \
		if [ -n "$$unformatted" ]; then printf 'not formatted, see gofmt -d:\n%s\n' "$$unformatted" >&2; exit 1; fi

.PHONY: vet
vet: ## run go vet
	$(GO) vet ./...

# The tool is pinned by a module of its own, so that it adds nothing to ours.
.PHONY: staticcheck
staticcheck: ## run the pinned staticcheck
	$(GO) tool -modfile=tools/go.mod staticcheck ./...

.PHONY: race
race: ## pass the tests under the race detector
	CGO_ENABLED=1 GORACE=atexit_sleep_ms=0 $(GO) test -race -timeout 60m ./...

.PHONY: docs
docs: ## generate what docs/ has from the source
	$(GO) generate ./...

# Compared with a copy, not with the last commit: text being written is no error.
.PHONY: docs-current
docs-current:
	@rm -rf build/docs && mkdir -p build && cp -R docs build/docs
	$(GO) generate ./...
	@diff -ru build/docs docs || { echo 'docs/ was not up to date: commit what make docs has made' >&2; exit 1; }

.PHONY: cross
cross: ## compile for every system
	@set -e; for target in $(TARGETS); do \
		echo "compiling for $$target"; \
		GOOS=$${target%/*} GOARCH=$${target#*/} CGO_ENABLED=0 $(BUILD) ./...; \
	done

.PHONY: clean
clean: ## remove what was built, and what make run left
	rm -rf bin build
