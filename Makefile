# Throughline. `make run` and `make test` are all that a fresh Debian or Ubuntu machine needs.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help run test test-socketio test-socketio-clients test-socketio-suites test-socketio-torture check bench bench-outbox load load-peers setup test-rust test-chaos test-kills test-stalled test-sources test-refusals test-load test-page test-collab test-proto test-client test-browser test-browser-short test-proxies test-proxies-short interop test-interop lint-deny docs fmt

CARGO ?= cargo
# `.ci/need` installs here what the system does not have, or has only in an older version.
export PATH := $(CURDIR)/target/tools/node_modules/.bin:$(HOME)/.cargo/bin:$(PATH)
# A test that hangs fails after this many seconds.
TEST_TIMEOUT ?= 2700

help: ## List all commands
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## (.*)/  make \1\t\2/' | expand -t 22

run: ## Build and start `gateway dev`: prints the page's address and curl lines to paste
	@.ci/need cargo cc
	@echo "building the gateway: three to five minutes the first time, seconds afterwards"
	@$(CARGO) build -p gateway
	@exec target/debug/gateway dev

test: setup test-rust test-load test-proto test-client test-socketio test-browser-short test-proxies-short test-collab test-page test-interop ## Run all tests, and install what they need first

test-rust: ## The Rust tests, including the examples in the documentation
	timeout --kill-after=10 $(TEST_TIMEOUT) $(CARGO) test --workspace --no-fail-fast

# As root, one of the gateways is behind a network that is cut; otherwise the test says that this part is skipped.
test-chaos: ## Kill, pause and cut off three gateways with wrong clocks and their Redis: CHAOS_SECONDS=300 CHAOS_SEED=1
	@.ci/need cargo cc redis-server libfaketime
	CHAOS_SECONDS=$${CHAOS_SECONDS:-300} REDIS_CHAOS_SECONDS=$${CHAOS_SECONDS:-300} timeout --kill-after=10 3600 $(CARGO) test -p gateway -p events --test chaos --test redis -- --nocapture --test-threads 1 where_redis no_client_misses

test-kills: ## Kill the disk store and a gateway on it again and again, and cut the power: KILLS=300
	@.ci/need cargo cc
	KILLS=$${KILLS:-300} DISK_KILLS=$${KILLS:-300} DISK_CUTS=$${KILLS:-300} timeout --kill-after=10 3600 $(CARGO) test -p gateway -p events --lib --test kills --test disk -- --nocapture --test-threads 1 every_acknowledged_event

test-stalled: ## 16,000 clients that stop reading, and the peak memory of the gateway: STALLED=16000
	@.ci/need cargo cc
	STALLED=$${STALLED:-16000} timeout --kill-after=10 1200 $(CARGO) test --release -p gateway --test stalled -- --nocapture clients_that_stop

# Twenty kills, the outbox under kills for a minute, NOTIFY with the store away for a minute, and the soak: some 15 minutes.
test-sources: ## The long forms of the tests of sources in Redis and PostgreSQL: KILLS=20 SOAK_SECONDS=600
	@.ci/need cargo cc redis-server postgresql pgbouncer
	$(CARGO) test -p gateway --no-run --test sources_redis --test notify --test outbox --test outbox_kills
	KILLS=$${KILLS:-20} timeout --kill-after=10 1800 nice $(CARGO) test -p gateway --test sources_redis -- --nocapture a_killed_holder
	OUTBOX_SECONDS=60 timeout --kill-after=10 1800 nice $(CARGO) test -p gateway --test outbox_kills -- --nocapture what_is_committed
	NOTIFY_SECONDS=60 timeout --kill-after=10 1800 nice $(CARGO) test -p gateway --test notify -- --nocapture a_store_that_is_away
	SOAK_SECONDS=$${SOAK_SECONDS:-600} timeout --kill-after=10 7200 nice $(CARGO) test -p gateway --test outbox -- --nocapture a_long_snapshot

# Every combination with 50 tries each takes some minutes.
test-refusals: ## Refusals while a body is still being sent, to the HTTP clients of five languages: REFUSALS=50
	@.ci/need cargo cc python3 node go curl || echo "the clients that need them are left out" >&2
	@command -v java >/dev/null || echo "Java is left out: install a JDK to include it" >&2
	REFUSALS=$${REFUSALS:-50} timeout --kill-after=10 3600 $(CARGO) test -p gateway --test refusals -- --nocapture

test-load: ## A short run of every load scenario: nothing is lost, repeated or out of order
	$(CARGO) build --quiet -p gateway -p loadtest
	target/debug/loadtest run all --targets gateway --smoke --server target/debug/gateway

test-proto: ## Validate the OpenAPI and AsyncAPI documents
	cd proto && npm ci --silent --no-audit --no-fund && npm test --silent

# Not `npm ci`, which refuses a lock file without the packages of platforms that a registry mirror does not have.
test-client: ## The TypeScript client: lint, types, tests, build, size, package, and tests against the real gateway
	$(CARGO) build --quiet -p gateway
	cd clients/ts && npm install --silent --no-audit --no-fund --no-save && npm run --silent check && npm test --silent && npm run --silent build && npm run --silent test:built && npm run --silent size && npm run --silent package && npm run --silent test:gateway

test-page: ## The page of `gateway dev`, in a real browser
	$(CARGO) build --quiet -p gateway
	cd crates/gateway/tests/browser && npm ci --silent --no-audit --no-fund && npm test --silent

test-collab: ## Three editors on one text, with CodeMirror's operational transform
	$(CARGO) build --quiet -p gateway
	cd crates/gateway/tests/collab && npm ci --silent --no-audit --no-fund && npm test --silent

# The client for Python is left out where it cannot be installed; nginx and Redis serve two gateways.
test-socketio: ## The real Socket.IO clients for JavaScript and Python, the wire that they speak, and two gateways
	$(CARGO) build --quiet -p gateway
	@.ci/need python3 nginx redis-server || echo "the tests that need them are left out" >&2
	crates/gateway/tests/socketio/install python
	cd crates/gateway/tests/socketio && npm ci --silent --no-audit --no-fund && npm test --silent

test-socketio-clients: ## The same with the clients for Java, Go and Rust, which take minutes to install
	$(CARGO) build --quiet -p gateway
	@for tool in go mvn java; do .ci/need $$tool || echo "without $$tool: its client is left out" >&2; done
	crates/gateway/tests/socketio/install
	cd crates/gateway/tests/socketio && npm ci --silent --no-audit --no-fund && node --test --test-force-exit languages.test.js

# Debian has Firefox ESR as a package. Where it cannot be installed, its tests are left out.
IF_FIREFOX = @.ci/need firefox-esr || { echo "without Firefox: its paths are left out" >&2; exit 0; };

IF_WEBKIT = @.ci/need WebKitWebDriver Xvfb || { echo "without WebKitGTK: its paths are left out" >&2; exit 0; };

test-browser: ## The client in Chromium, Firefox and WebKitGTK through every obstacle and proxy, with tables of the results
	@.ci/need cargo cc node npm chromium nginx openssl apache2 haproxy squid tinyproxy
	$(CARGO) build --quiet -p gateway
	cd clients/ts && npm install --silent --no-audit --no-fund --no-save && npm run --silent build && npm run --silent test:browser
	$(IF_FIREFOX) npm run --silent --prefix clients/ts test:browser:firefox
	$(IF_WEBKIT) npm run --silent --prefix clients/ts test:browser:webkit

test-proxies: ## Real proxies with the lines of docs/proxies.md in front of the gateway, with a table: PROXY=nginx for one
	@.ci/need cargo cc node npm chromium nginx apache2 haproxy varnishd h2o venv java mvn
	$(CARGO) build --quiet -p gateway
	cd clients/ts && npm install --silent --no-audit --no-fund --no-save && npm run --silent build && npm run --silent test:proxies -- $(PROXY)

# Runs after test-client, which builds the client.
test-proxies-short: ## Three of these proxies, without the long waits
	@.ci/need nginx haproxy
	$(CARGO) build --quiet -p gateway
	npm run --silent --prefix clients/ts test:proxies:short

# Runs after test-client, which builds the client.
test-browser-short: ## The most important of these paths, in about a minute for each browser
	$(CARGO) build --quiet -p gateway
	cd clients/ts && npm run --silent test:browser:short
	$(IF_FIREFOX) npm run --silent --prefix clients/ts test:browser:firefox:short

# A language that cannot be installed here is named, and its libraries are left out.
interop: ## Over 70 uses of SSE and WebSocket libraries in six languages against the gateway, in one table: ONLY=NAME
	@.ci/need cargo cc node npm python3 venv
	@for tool in go mvn java libwebsockets; do .ci/need $$tool || echo "without $$tool: its libraries are left out" >&2; done
	$(CARGO) build --quiet -p gateway
	interop/install
	node interop/runner/examples.mjs --gateway target/debug/gateway
	node interop/runner/run.mjs --gateway target/debug/gateway --only "$${ONLY:-}"

# The JDK and Maven are used if they are there, and not installed for this.
test-interop: ## One SSE or WebSocket library of each language, and the programs in docs/clients.md, in about a minute
	@.ci/need cargo cc node npm python3 venv curl
	@.ci/need go || echo "without Go: its library is left out" >&2
	$(CARGO) build --quiet -p gateway
	interop/install --short
	node interop/runner/examples.mjs --gateway target/debug/gateway
	node interop/runner/run.mjs --gateway target/debug/gateway --short

test-socketio-torture: ## Socket.IO clients of three versions under cuts, upgrades and kills: TORTURE_SECONDS=600
	$(CARGO) build --quiet -p gateway
	cd crates/gateway/tests/socketio && npm ci --silent --no-audit --no-fund && TORTURE_SECONDS=$${TORTURE_SECONDS:-600} node --test --test-force-exit torture.test.js

# Their repositories are on GitHub; ENGINEIO_PROTOCOL and SOCKETIO_PROTOCOL name others.
test-socketio-suites: ## The public test suites of Engine.IO 4 and Socket.IO 5, if they can be fetched
	$(CARGO) build --quiet -p gateway
	cd crates/gateway/tests/socketio && npm ci --silent --no-audit --no-fund && node suites.js

check: ## Format, lints, house rules, documentation, licences
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	$(CARGO) test --quiet -p gateway --test house
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --quiet
	$(MAKE) --no-print-directory lint-deny

lint-deny: ## Licences, sources, duplicates and layers of the dependencies
	@.ci/need cargo-deny
	$(CARGO) deny --log-level error check bans licenses sources

bench: ## Benchmarks of the log, the stores and their engines, frames, a flood by one client, several gateways, an outbox, and fan-out compared with a bare epoll loop
	@.ci/need cargo cc redis-server postgresql
	$(CARGO) bench --workspace
	$(CARGO) run --release --quiet -p events --example disk_figures target/disk-figures
	$(CARGO) build --release --quiet -p gateway -p loadtest
	target/release/loadtest run fan-out --scale 0.2

# Go is needed for Centrifugo only, which is left out without it.
bench-outbox: ## Outboxes in PostgreSQL side by side: the gateway, and Centrifugo's consumer and stream broker: ROUNDS=3 ROWS=100000
	@.ci/need cargo cc postgresql
	@.ci/need go || echo "without Go: Centrifugo is left out" >&2
	loadtest/peers/install --only centrifugo6
	$(CARGO) bench -p gateway --bench outbox

load: ## All load scenarios, with a report in loadtest/RESULTS.md
	$(CARGO) build --release --quiet -p gateway -p loadtest
	target/release/loadtest run all --report loadtest

# Mercure and socket.io need minutes for a whole storm, so they run a twentieth of it.
load-peers: ## The same scenarios against other servers: nchan, Centrifugo, Mercure, socket.io, uWebSockets
	@.ci/need cargo cc
	@.ci/need nginx nchan go npm python3 || echo "the peers that need them are left out" >&2
	$(CARGO) build --release --quiet -p gateway -p loadtest
	loadtest/peers/install
	target/release/loadtest run fan-out per-user publish idle latency --targets gateway,floor,nchan,centrifugo,mercure,socketio,uws --skip-missing --report loadtest/peers
	target/release/loadtest run storm --targets gateway,nchan,centrifugo --skip-missing --report loadtest/peers
	target/release/loadtest run storm --scale 0.05 --targets gateway,mercure,socketio --skip-missing

setup:
	@.ci/need cargo cc node npm chromium nginx redis-server postgresql pgbouncer openssl curl python3 pg psycopg2 ioredis redis-py

docs: ## Write the table of options in docs/operating.md anew, from the command line itself
	UPDATE_DOCS=1 $(CARGO) test --quiet -p gateway --lib config::documented

fmt: ## Format everything
	$(CARGO) fmt --all
