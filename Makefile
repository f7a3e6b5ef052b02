# make demo    two workers, Cloakroom in front of them, and what to look at
# make test    everything that the tests need, then the tests
# make check   formatting, lints, links in the documentation
# make mistakes  deliberate mistakes, each of which the model of the protocol must find
# make package the Debian package, rpm and root of a container into dist/; make try-package tries the first as root
# make faults  real faults of real stores: what users notice; ARGS=--write puts it into the documentation

ARGS ?=

.PHONY: demo test check mistakes faults package try-package bench-load fmt clean

# Unoptimised: the demo is for looking, and is there within the time that this build takes.
demo:
	scripts/setup --build
	cargo build
	cargo run --quiet -- demo

test:
	scripts/setup
	scripts/test-apps
	cargo nextest run

check:
	scripts/setup
	cargo fmt --check
	cargo clippy --all-targets -- -D warnings
	RUSTDOCFLAGS='-D warnings' cargo doc --no-deps
	cargo deny check bans licenses sources

# Seven builds of the library's tests: some minutes.
mistakes:
	scripts/setup
	scripts/mistakes

# Some twelve minutes. ARGS='--only sentinel' for a part, ARGS=--list for the names.
faults:
	scripts/setup
	tests/faults/run $(ARGS)

package:
	scripts/package $(ARGS)

try-package:
	scripts/try-package $(ARGS)

# The side-by-side comparison with other proxies; figures in benches/load/README.md.
bench-load:
	scripts/setup
	cargo build --release
	benches/load/run

fmt:
	cargo fmt

clean:
	cargo clean
	rm -rf dist tests/apps/node_modules tests/apps/venv
