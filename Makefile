# make run    builds everything and starts the emulator
# make test   what CI runs
# make help   the other targets

SHELL := /bin/bash
.SHELLFLAGS := -o pipefail -c
GO ?= go
FUZZTIME ?= 5s

BIN := bin/sspemu
DIST := bundles/dist
# What goes into the binary besides the bundles.
SOURCES := $(shell find bundles/*.go cmd internal primary scl spec-tests transport bundles/telecom bundles/payment bundles/eid bundles/iot bundles/sdk -type f \
  -not -name '*_test.go' -not -path '*/testdata/*') go.mod go.sum

# The bundles: name and directory. Those in C need clang and wasm-ld; without
# them they are left out of the binary.
BUNDLES := telecom payment eid iot example
dir_telecom := bundles/telecom
dir_payment := bundles/payment
dir_eid := bundles/eid
dir_iot := bundles/iot
dir_example := bundles/sdk/example
dir_example-c := bundles/sdk/example-c
ifneq ($(and $(shell command -v clang),$(shell command -v wasm-ld)),)
BUNDLES += example-c
endif
PACKAGES := $(BUNDLES:%=$(DIST)/%.spb.gz)

.PHONY: help build bundles run test lint fuzz bench clean tools tools-go

help:
	@sed -n 's/^# make/make/p' Makefile
	@echo 'make build    the binary $(BIN), static, with all bundles inside'
	@echo 'make bundles  the packages in $(DIST)'
	@echo 'make lint     gofmt, vet, staticcheck'
	@echo 'make fuzz     every fuzz target for FUZZTIME ($(FUZZTIME))'
	@echo 'make bench    the performance table, with the command that made each figure'
	@echo 'make clean    removes what was built'

build: $(BIN)

bundles: $(PACKAGES)

# What goes into a bundle: its own folder, the SDK and the leaves.
guest_sources = $(shell find $(dir_$(1)) bundles/sdk internal -type f -not -name '*_test.go' -not -path '*/testdata/*')

define package
$(DIST)/$(1).spb.gz: $(call guest_sources,$(1)) go.mod | tools-go
	@printf '  bundle %-10s ' $(1)
	@$$(GO) run ./cmd/sspemu bundle pack $(dir_$(1)) -o $(DIST)/$(1).spb
	@cp $(dir_$(1))/bundle.json $(DIST)/$(1).json
	@gzip -9 -n -f $(DIST)/$(1).spb
endef
$(foreach b,$(BUNDLES),$(eval $(call package,$(b))))

$(BIN): $(SOURCES) $(PACKAGES)
	@echo '  sspemu'
	@CGO_ENABLED=0 $(GO) build -trimpath -ldflags='-s -w' -o $@ ./cmd/sspemu

run: build
	$(BIN) serve $(ARGS)

# Tests in which one thing happens after the other: the race detector finds nothing in
# them and makes them ten times longer. They run without it.
SEQUENTIAL := TestEmulator/^(ca|emv|issuer|iot|ota|ota-serve|demo|modem|conform|probe|ephemeral|http|coap|link|bus|apdu|seed|proxy|config|trace|state|persona.*|inspect.*)$$|TestUsage|^TestDemoFails|NativeAndWasmAgree$$|^TestConformance$$|^TestAgain$$|^TestBroken|^TestTampered|^TestKeysStay|^TestEIDOversize|^TestDocumentInWebAssembly

test: tools build lint
	$(GO) test -race -timeout 15m -skip '$(SEQUENTIAL)' ./...
	$(GO) test -timeout 15m -run '$(SEQUENTIAL)' ./cmd/sspemu ./spec-tests
	$(MAKE) fuzz

lint:
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { echo 'not gofmt-ed:'; gofmt -l $$(git ls-files '*.go'); exit 1; }
	$(GO) vet ./...
	$(GO) tool staticcheck ./...

# Every fuzz target there is, two packages at a time.
fuzz:
	@$(GO) test -list '^Fuzz' ./... | awk '/^Fuzz/ {f = f " " $$1} /^ok/ {if (f) print $$2 f; f = ""}' \
	  | xargs -P 2 -L 1 ./.ci/fuzz $(FUZZTIME)

bench: build
	@./.ci/bench

clean:
	rm -rf bin $(DIST)/*.spb $(DIST)/*.spb.gz $(DIST)/*.json

# What the tests need beside Go; one line says how to get all of it.
NEEDED := clang wasm-ld pcscd opensc-tool pcsc_scan scriptor curl wrk mosquitto coap-client-openssl chromium tshark sigrok-cli yubico-piv-tool openssl ssh-keygen cvc-create mrtdreader
tools:
	@for t in $(NEEDED); do command -v $$t >/dev/null || PATH=$$PATH:/usr/sbin command -v $$t >/dev/null || missing="$$missing $$t"; done; \
	/usr/bin/python3 -c 'import smartcard' 2>/dev/null || missing="$$missing python3-pyscard"; \
	/usr/bin/python3 -c 'import pigpio' 2>/dev/null || missing="$$missing python3-pigpio"; \
	/usr/bin/python3 -c 'import serial' 2>/dev/null || missing="$$missing python3-serial"; \
	test -e /usr/lib/pcsc/drivers/serial/libifdvpcd.so || missing="$$missing vsmartcard-vpcd"; \
	test -e /usr/lib/pcsc/drivers/serial/libccidtwin.so || missing="$$missing libccid"; \
	ls /usr/lib/*/opensc-pkcs11.so >/dev/null 2>&1 || missing="$$missing opensc-pkcs11"; \
	ls /usr/lib/*/engines-3/pkcs11.so >/dev/null 2>&1 || missing="$$missing libengine-pkcs11-openssl"; \
	if [ -n "$$missing" ]; then \
	  echo "make test needs$$missing (Debian: apt-get install clang lld pcscd vsmartcard-vpcd libccid opensc pcsc-tools python3-pyscard python3-pigpio python3-serial curl wrk mosquitto libcoap3-bin chromium tshark sigrok-cli yubico-piv-tool opensc-pkcs11 libengine-pkcs11-openssl openssh-client openssl openpace mrtdreader libeac-dev libssl-dev libpcsclite-dev libc6-dev)"; exit 1; \
	fi

tools-go:
	@command -v $(GO) >/dev/null || { echo 'sspemu needs Go 1.26 or later (https://go.dev/dl)'; exit 1; }
