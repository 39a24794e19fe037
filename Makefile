# Short names. ./run and ./test need none of this; they work before make is installed.
SEEDS ?= 1000
MUTANT_SEEDS ?= 2000
KILLS ?= 20
MINUTES ?= 10
DESTDIR ?=
PREFIX ?= /usr/local
MESON_BUILD = build/build.ninja

.PHONY: all run test bench bench-restart sim sim-mutants explore explore-mutants chaos install clean format gates \
	check-fresh help

all: $(MESON_BUILD)
	ninja -C build

help:
	@echo 'make            build everything into build/'
	@echo 'make run        ./run: three nodes and a demo'
	@echo 'make test       ./test: all tests'
	@echo 'make gates      layers, style, format, purity'
	@echo 'make format     rewrite the C files as clang-format 14 does'
	@echo 'make sim        the simulator, SEEDS=1000 of them'
	@echo 'make sim-mutants   bugs put in on purpose must be found by the simulator'
	@echo 'make explore    every order of everything that can happen, within bounds'
	@echo 'make explore-mutants   bugs put in on purpose must be found by the exploration'
	@echo 'make chaos      real nodes are harmed for MINUTES=10, and the leader is killed KILLS=20 times'
	@echo 'make bench      the benchmarks, beside nginx and HAProxy'
	@echo 'make bench-restart   a node with 256 MB starts after a clean stop and after kill -9'
	@echo 'make install    the release build into PREFIX=/usr/local'
	@echo 'make check-fresh   ./run and ./test inside a minimal Debian 12'

run:
	./run

test:
	./test

$(MESON_BUILD):
	tools/bootstrap --test
	meson setup build

sim: $(MESON_BUILD)
	ninja -C build sim
	build/sim --seeds $(SEEDS)

sim-mutants:
	tools/sim-mutants --seeds $(MUTANT_SEEDS)

explore: $(MESON_BUILD)
	ninja -C build explore
	build/explore

explore-mutants:
	tools/sim-mutants --explore

chaos: $(MESON_BUILD)
	ninja -C build
	python3 tests/chaos/failover.py build/flotilla --kills $(KILLS)
	python3 tests/chaos/chaos.py build/flotilla build/tests/chaos --minutes $$(($(MINUTES) - $(MINUTES) / 2)) --nodes 3
	python3 tests/chaos/chaos.py build/flotilla build/tests/chaos --minutes $$(($(MINUTES) / 2)) --nodes 5

bench: $(MESON_BUILD)
	tools/bootstrap --bench
	ninja -C build
	bench/run

bench-restart: $(MESON_BUILD)
	ninja -C build flotilla
	python3 bench/restart.py build/flotilla

install: $(MESON_BUILD)
	meson configure build -Dprefix=$(PREFIX)
	ninja -C build flotilla
	DESTDIR=$(DESTDIR) meson install -C build --no-rebuild

gates: $(MESON_BUILD)
	meson test -C build --suite gate --print-errorlogs

format:
	python3 tools/check_format.py --fix

check-fresh:
	tools/check-fresh

clean:
	rm -rf build-dev build-tsan build-clang
	if [ -d build ]; then tools/check-fresh --remove; rm -rf build; fi
