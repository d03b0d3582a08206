# Everything here needs Go alone; tools are run at pinned versions.

GO          ?= go
FUZZTIME    ?= 10s
SOAK        ?= 50
SOAK_TIME   ?= 30m
STATICCHECK ?= honnef.co/go/tools/cmd/staticcheck@v0.8.1

# Packages that are also tested under the race detector by `make test`: those
# that hold state shared by goroutines and whose tests stay affordable with it.
RACE ?= ./gossip/... ./routing/... ./transport/... ./store/... ./replication/... ./node/... ./cmd/...

# The nested module of the benchmarks against peers is not part of ./...
NESTED := $(wildcard test/bench/go.mod)

.PHONY: build test race lint demo bench fuzz soak clean

build: ## the binary, as ./skein
	$(GO) build -trimpath -o skein ./cmd/skein

test: ## all that ends within some minutes on two cores
	$(GO) test -timeout 15m ./...
	$(GO) test -race -short -timeout 15m $(RACE)

lint: ## formatting, vet, staticcheck
	@out=$$(gofmt -l $$(git ls-files '*.go')); test -z "$$out" || { echo "not formatted:"; echo "$$out"; exit 1; }
	$(GO) vet ./...
	$(GO) run $(STATICCHECK) ./...
ifneq ($(NESTED),)
	cd test/bench && $(GO) vet ./... && $(GO) run $(STATICCHECK) ./...
endif

demo: ## three regions on this machine: publish, cut, heal; fails if any of it does
	$(GO) run ./cmd/skein demo --once

bench: ## micro-benchmarks, then Skein and its peers side by side
	$(GO) test -run '^$$' -bench . -benchmem ./...
ifneq ($(NESTED),)
	cd test/bench && $(GO) run .
endif

fuzz: ## every fuzz target for FUZZTIME each
	@$(GO) test -list '^Fuzz' ./... | awk '/^Fuzz/ {f[n++]=$$1} $$1=="ok" {for (i=0;i<n;i++) print $$2, f[i]; n=0} $$1=="?" {n=0}' | \
	while read pkg target; do \
	  echo "== $$pkg $$target"; \
	  $(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) $$pkg || exit 1; \
	done

soak: ## the tests again, raced, with SOAK times as many seeds and runs; a whole mesh under faults with 20 × SOAK seeds; meshes too large for the race detector; processes under faults for SOAK_TIME
	SKEIN_SOAK=$(SOAK) $(GO) test -race -count 1 -timeout 6h ./...
	SKEIN_TRIALS=$$((20 * $(SOAK))) $(GO) test -count 1 -timeout 6h -v -run 'EveryEventIsDelivered|GatewayFailoverOrder' ./test
	SKEIN_SOAK=$(SOAK) $(GO) test -count 1 -timeout 1h -run LargeMesh ./test
	SKEIN_SOAK=$(SOAK) $(GO) test -count 1 -timeout 1h -v -run WholeMesh ./test/scale
	SKEIN_SOAK_TIME=$(SOAK_TIME) $(GO) test -count 1 -timeout 24h -v -run WhateverHappensToProcesses ./test

clean:
	rm -f skein
