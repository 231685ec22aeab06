# SPDX-License-Identifier: LGPL-2.1-or-later
#
# plyfs is built by GNU make alone; `make help` lists the targets.
#
# Nothing is written outside the build folder O. Each compiler and sanitizer has a folder of its
# own below it, B, which looks like an installed tree: bin, libexec, share. Missing Debian packages
# are installed first, once per folder. Sources are found by wildcard: a new file needs no line here.
#
#   CC=clang                       compiler (gcc)
#   SANITIZE=address,undefined     or thread
#   WERROR=1                       warnings are errors
#   V=1                            show commands
#   O=DIR                          build folder (build); also BUILD=DIR
#   PREFIX=DIR DESTDIR=DIR         of install and uninstall (/usr/local)
#   TESTS='FILE...'                of check: only these (test sources, *.bats, test_*.py)
#   WITHOUT='FILE...'              of check: all but these
#   SUITE=NAME                     of check-full
#   T=NAME S=SECONDS               of fuzz; S= also of check-full SUITE=fuzz
#   W='NAME...' RUNS=N TREE=DIR PEERS=newer   of bench (bench/run --help)

ifeq ($(origin CC),default)
CC := gcc
endif
BUILD    ?= build
O        ?= $(BUILD)
PREFIX   ?= /usr/local
SANITIZE ?=
WERROR   ?=
V        ?=

comma   := ,
variant := $(notdir $(firstword $(CC)))$(if $(SANITIZE),-$(subst $(comma),+,$(SANITIZE)))
B       := $(O)/$(variant)
Q       := $(if $(V),,@)
SHELL   := /bin/bash -o pipefail
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules

.PHONY: all
all:

# --- Debian packages ------------------------------------------------------------------------

build-packages := $(or $(filter gcc% clang%,$(notdir $(firstword $(CC)))),gcc) libc6-dev binutils pkgconf libfuse3-dev libzstd-dev libxxhash-dev \
	libssl-dev libjansson-dev libyaml-dev
ifneq ($(findstring clang,$(CC)),)
build-packages += $(if $(SANITIZE),libclang-rt-dev llvm)
endif
test-packages  := perl bats check mmdebstrap squashfs-tools attr acl libcap2-bin fuse3 python3 \
	e2fsprogs mandoc shellcheck procps bsdextrautils squashfuse erofs-utils wimtools tar zstd fio qemu-system-common strace \
	autoconf automake
# to build and run xfstests
full-packages  := qemu-system-x86 libtool xfslibs-dev uuid-dev libattr1-dev libacl1-dev libaio-dev libgdbm-dev libcap-dev xfsprogs bc gawk make psmisc
bench-packages := squashfs-tools squashfuse erofs-utils wimtools fuse-overlayfs tar zstd fio attr python3 e2fsprogs mmdebstrap procps

# $(call install,PACKAGES): what dpkg does not list as installed. No index is downloaded as long
# as the one at hand will do. Not Debian: say what is needed, and let the compiler judge.
define install
	$(Q)mkdir -p $(B); \
	if ! command -v dpkg-query >/dev/null; then \
		echo 'not a Debian system; these packages of Debian 12 are needed: $(strip $(1))' >&2; exit 0; \
	fi; \
	missing=$$(comm -13 \
		<(dpkg-query -W -f '$${db:Status-Abbrev}$${Package}\n' $(1) 2>/dev/null | sed -n 's/^ii *//p' | sort -u) \
		<(printf '%s\n' $(1) | sort -u) | tr '\n' ' '); \
	[ -n "$$missing" ] || exit 0; \
	if [ "$$(id -u)" = 0 ]; then root=env; \
	elif command -v sudo >/dev/null && { sudo -n true 2>/dev/null || [ -t 0 ]; }; then root='sudo env'; \
	else echo "missing packages: as root, run: apt-get install --no-install-recommends $$missing" >&2; exit 1; \
	fi; \
	echo "installing $$missing"; \
	apt="$$root DEBIAN_FRONTEND=noninteractive apt-get -q -y -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=600"; \
	log=$(B)/apt.log; \
	$$apt install --no-install-recommends $$missing >$$log 2>&1 </dev/null || \
		{ $$apt update && $$apt install --no-install-recommends $$missing; } >>$$log 2>&1 </dev/null || \
		{ tail -n 20 $$log >&2; echo "apt-get failed (whole log: $$log); missing: $$missing" >&2; exit 1; }
endef

$(B)/.packages-build: Makefile
	$(call install,$(build-packages))
	@touch $@
$(B)/.packages-test: Makefile | $(B)/.packages-build
	$(call install,$(test-packages))
	@touch $@
$(B)/.packages-full: Makefile | $(B)/.packages-test
	$(call install,$(full-packages))
	@touch $@
$(B)/.packages-bench: Makefile | $(B)/.packages-build
	$(call install,$(bench-packages))
	@touch $@

.PHONY: tools-installed
tools-installed: $(B)/.packages-build $(B)/.packages-test  ## install the Debian packages of build and tests

# --- flags --------------------------------------------------------------------------------

CFLAGS    ?= -O2 -g
cppflags  := -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -Iinclude -Ifs
warnings  := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla -Wformat=2 -Wundef \
	-Werror=incompatible-pointer-types -Werror=int-conversion \
	-Werror=implicit-function-declaration -Werror=return-type
cflags    := -std=gnu17 $(warnings) $(if $(WERROR),-Werror) -fvisibility=hidden -fPIE -pthread
ldflags   := -pie -pthread -Wl,--as-needed -Wl,-z,relro -Wl,-z,now
ifeq ($(SANITIZE),)
cppflags  += -D_FORTIFY_SOURCE=2
cflags    += -fstack-protector-strong
else
cppflags  += -DPLYFS_SANITIZED
cflags    += -fsanitize=$(SANITIZE) -fno-sanitize-recover=all -fno-omit-frame-pointer
ldflags   += -fsanitize=$(SANITIZE)
endif

# Written by pkg-config once the packages are there; make starts again after writing it.
libraries := libzstd libxxhash libcrypto jansson yaml-0.1
no-config := help clean check-layers check-bare format-check uninstall tools-installed bench-results
ifneq ($(filter-out $(no-config),$(or $(MAKECMDGOALS),all)),)
include $(B)/config.mk
endif
$(B)/config.mk: Makefile | $(B)/.packages-build
	@mkdir -p $(B)
	@{ echo "lib-cflags := $$(pkg-config --cflags $(libraries))" && \
	   echo "lib-libs := $$(pkg-config --libs $(libraries))" && \
	   echo "fuse-cflags := $$(pkg-config --cflags fuse3)" && \
	   echo "fuse-libs := $$(pkg-config --libs fuse3)"; } >$@

compile   = $(CC) $(cppflags) $(CPPFLAGS) $(cflags) $(lib-cflags) $(CFLAGS)
link      = $(CC) $(cflags) $(CFLAGS) $(ldflags) $(LDFLAGS)

# Objects depend on this file, which changes when the flags do.
$(B)/flags: FORCE
	@mkdir -p $(B)
	@echo '$(compile) | $(link)' | cmp -s - $@ || echo '$(compile) | $(link)' >$@
.PHONY: FORCE
FORCE:

# --- what is built ----------------------------------------------------------------------------

folders   := base io codec format merge cache sub redo image tree live ops
lib-src   := $(foreach d,$(folders),$(sort $(wildcard fs/$d/*.c)))
fuse-src  := $(sort $(wildcard fs/fuse/*.c))
tools-src := $(sort $(shell find tools -name '*.c'))
unit-src  := $(sort $(wildcard tests/unit/test_*.c))
fuzz-src  := $(sort $(wildcard tests/fuzz/fuzz_*.c))
fuzz-main := tests/fuzz/driver.c tests/fuzz/seeds.c
damage-src := $(sort $(wildcard tests/damage/*.c))
schedule-src := $(sort $(wildcard tests/schedule/*.c))
model-src := $(sort $(wildcard tests/model/*.c))
# what several tests share
helper-src := $(filter-out $(unit-src) $(fuzz-src) $(fuzz-main),$(sort $(wildcard tests/unit/*.c tests/fuzz/*.c)))
man-src   := $(sort $(wildcard tools/man/*.[15]))
headers   := $(sort $(shell find include fs tools -name '*.h'))

obj       = $(patsubst %.c,$(B)/obj/%.o,$(1))
library   := $(B)/lib/libplyfs.a
toolkit   := $(B)/lib/tools.a   # the verbs, for unit tests: all of tools but main
plyfs     := $(B)/bin/plyfs
daemon    := $(B)/libexec/plyfs/plyfs-fuse
# tools/man/x.5 -> share/man/man5/x.5
man-place = $(foreach m,$(man-src),share/man/man$(subst .,,$(suffix $m))/$(notdir $m))
man       := $(addprefix $(B)/,$(man-place))
rules     := $(patsubst tools/capture/rules/%,$(B)/share/plyfs/rules/%,$(wildcard tools/capture/rules/*.yaml))
completion := $(B)/share/bash-completion/completions/plyfs
helpers   := $(B)/lib/test-helpers.a
unit      := $(patsubst %.c,$(B)/%,$(unit-src))
damage    := $(B)/tests/damage/damage
schedules := $(B)/tests/schedule/schedules
model     := $(B)/tests/model/fsmodel
fuzz      := $(patsubst %.c,$(B)/%,$(fuzz-src))
fuzz-names := $(patsubst tests/fuzz/fuzz_%.c,%,$(fuzz-src))
faultyfs-src := tests/mount/faultyfs.c
faultyfs  := $(B)/tests/mount/faultyfs
faults    := $(B)/tests/lib/faults.so

all: $(plyfs) $(if $(fuse-src),$(daemon)) $(man) $(completion) $(rules)  ## the command, the daemon, man pages (default)

$(call obj,$(fuse-src)): extra = $(fuse-cflags) -Ifs/fuse
$(call obj,$(faultyfs-src)): extra = $(fuse-cflags)
$(call obj,$(tools-src)): extra = -Itools
$(call obj,$(unit-src) $(fuzz-src) $(fuzz-main) $(helper-src)): extra = -Itools -Itests
$(call obj,$(schedule-src)): extra = -Itools -Itests
$(call obj,$(damage-src)): extra = $(fuse-cflags) -Ifs/fuse -Itools -Itests
$(B)/obj/%.o: %.c $(B)/flags | $(B)/.packages-build
	@mkdir -p $(@D)
	@$(if $(V),,echo '  CC      $<')
	$(Q)$(compile) $(extra) -MMD -MP -c -o $@ $<

$(library): $(call obj,$(lib-src))
$(toolkit): $(filter-out $(B)/obj/tools/main.o,$(call obj,$(tools-src)))
$(helpers): $(call obj,$(helper-src))
$(library) $(toolkit) $(helpers):
	@mkdir -p $(@D)
	@rm -f $@
	$(Q)ar rcsD $@ $^

$(plyfs): $(call obj,$(tools-src)) $(library)
	@mkdir -p $(@D)
	@$(if $(V),,echo '  LINK    $@')
	$(Q)$(link) -o $@ $^ $(lib-libs)

$(daemon): $(call obj,$(fuse-src)) $(library)
	@mkdir -p $(@D)
	@$(if $(V),,echo '  LINK    $@')
	$(Q)$(link) -o $@ $^ $(lib-libs) $(fuse-libs)

$(B)/share/man/man1/%: tools/man/%
	@mkdir -p $(@D)
	$(Q)cp $< $@

$(B)/share/man/man5/%: tools/man/%
	@mkdir -p $(@D)
	$(Q)cp $< $@

$(B)/share/plyfs/rules/%: tools/capture/rules/%
	@mkdir -p $(@D)
	$(Q)cp $< $@

$(completion): tools/completions/plyfs.bash
	@mkdir -p $(@D)
	$(Q)cp $< $@

# --- tests --------------------------------------------------------------------------------------

# A test that defines __wrap_malloc() gets the linker's --wrap=malloc, and so on.
wrapped = $$(nm $(1) | sed -n 's/.* T __wrap_/-Wl,--wrap=/p')
$(B)/tests/unit/%: $(B)/obj/tests/unit/%.o $(helpers) $(toolkit) $(library)
	@mkdir -p $(@D)
	@$(if $(V),,echo '  LINK    $@')
	$(Q)$(link) $(call wrapped,$<) \
		-o $@ $^ $(lib-libs) $$(pkg-config --libs check)
$(call obj,$(unit-src) $(helper-src)): | $(B)/.packages-test

$(faultyfs): $(call obj,$(faultyfs-src))
	@mkdir -p $(@D)
	@$(if $(V),,echo '  LINK    $@')
	$(Q)$(link) -o $@ $^ $(fuse-libs)

# To be preloaded, into sanitized programs too: without a sanitizer of its own.
$(faults): tests/lib/faults.c $(B)/flags | $(B)/.packages-build
	@mkdir -p $(@D)
	@$(if $(V),,echo '  LINK    $@')
	$(Q)$(CC) -std=gnu17 -D_GNU_SOURCE $(warnings) $(if $(WERROR),-Werror) -O2 -g -fPIC -shared -o $@ $< -ldl

# The daemon's operations without libfuse: the test replies itself.
$(damage): $(call obj,$(damage-src) fs/fuse/ops.c fs/fuse/ahead.c fs/fuse/log.c) $(helpers) $(toolkit) $(library)
	@mkdir -p $(@D)
	@$(if $(V),,echo '  LINK    $@')
	$(Q)$(link) -Wl,--wrap=ply_fail_nomem -o $@ $^ $(lib-libs)

# Its scheduler takes the place of handover() and of all that threads wait for one another by.
$(schedules): $(call obj,$(schedule-src)) $(toolkit) $(library)
	@mkdir -p $(@D)
	@$(if $(V),,echo '  LINK    $@')
	$(Q)$(link) $(call wrapped,$(filter %.o,$^)) -o $@ $^ $(lib-libs)

# Nothing of the product is in it: it only calls the kernel.
$(model): $(call obj,$(model-src))
	@mkdir -p $(@D)
	@$(if $(V),,echo '  LINK    $@')
	$(Q)$(link) -o $@ $^

tests    := $(unit) $(damage) $(fuzz) $(sort $(wildcard tests/cli/*.bats tests/mount/*.bats tests/*/test_*.py))
selected := $(filter-out $(WITHOUT),$(if $(TESTS),$(patsubst tests/%.c,$(B)/tests/%,$(TESTS)),$(tests)))
to-fuzz  := $(filter $(fuzz),$(selected))

bench-tools := $(patsubst bench/%.c,$(B)/bench/%,$(sort $(wildcard bench/*.c)))
.SECONDARY: $(call obj,$(wildcard bench/*.c))
$(B)/bench/floors $(B)/bench/redo_bench: $(library)
$(B)/bench/%: $(B)/obj/bench/%.o
	@mkdir -p $(@D)
	$(Q)$(link) -o $@ $^ $(lib-libs)

.PHONY: check check-unit check-full check-bare bench demo fuzz
check: all $(unit) $(damage) $(schedules) $(model) $(faultyfs) $(faults) $(bench-tools) $(to-fuzz) $(if $(to-fuzz),$(B)/tests/fuzz/seeds.made) | $(B)/.packages-test  ## all tests that fit into CI
	@PLYFS_BUILD=$(abspath $(B)) prove --comments $(PROVEFLAGS) --exec tests/run-test $(selected)

check-unit: $(unit) $(rules) | $(B)/.packages-test  ## unit tests only
	@PLYFS_BUILD=$(abspath $(B)) prove --comments $(PROVEFLAGS) --exec tests/run-test $(unit)

check-full: all $(model) $(faults) $(B)/tests/unit/test_merge $(B)/tests/unit/test_compose | $(B)/.packages-full  ## long suites, by hand: SUITE=NAME, without it a list
	@PLYFS_BUILD=$(abspath $(B)) S='$(S)' tests/full.sh $(SUITE)

check-bare:  ## `make demo` and `make check` on a bare Debian 12, in a chroot (root)
	@tests/bare.sh

demo: all | $(B)/.packages-test  ## capture, mount, lay out and verify this machine's own /
	@PLYFS_BUILD=$(abspath $(B)) tests/demo.sh

bench: all $(bench-tools) | $(B)/.packages-bench  ## figures against the peers: W='walk read' for some of them
	@PLYFS_BUILD=$(abspath $(B)) bench/run $(if $(RUNS),--runs $(RUNS)) $(if $(TREE),--tree '$(TREE)') \
		$(if $(PEERS),--peers $(PEERS)) $(BENCHFLAGS) $(W)

.PHONY: bench-results
bench-results:  ## bench/RESULTS.md from the last run, or from JSON='FILE...'
	@bench/results $(or $(JSON),$(O)/bench/last.json) >$(O)/bench/RESULTS.md && mv $(O)/bench/RESULTS.md bench/RESULTS.md

# Seeds are made by what is built, and follow it.
$(B)/tests/fuzz/seeds: $(B)/obj/tests/fuzz/seeds.o $(helpers) $(library)
	@mkdir -p $(@D)
	$(Q)$(link) -o $@ $^ $(lib-libs)
$(B)/tests/fuzz/seeds.made: tests/fuzz/seeds.py tests/lib/small.py tests/lib/plyimg.py tests/lib/overlay_tree.py $(B)/tests/fuzz/seeds $(plyfs) $(rules) | $(B)/.packages-test
	@$(if $(V),,echo '  SEEDS   $(B)/tests/fuzz/inputs')
	$(Q)tests/fuzz/seeds.py $(B) $(@D)/inputs
	@touch $@

# By libFuzzer, where SANITIZE says so; else by driver.c, with the same inputs.
fuzz-engine := $(if $(findstring fuzzer,$(SANITIZE)),-fsanitize=fuzzer,$(B)/obj/tests/fuzz/driver.o)
$(fuzz): $(B)/tests/fuzz/fuzz_%: $(B)/obj/tests/fuzz/fuzz_%.o $(filter %.o,$(fuzz-engine)) $(helpers) $(toolkit) $(library)
	@mkdir -p $(@D)
	@$(if $(V),,echo '  LINK    $@')
	$(Q)$(link) $(filter -%,$(fuzz-engine)) -o $@ $(filter %.o,$^) $(filter %.a,$^) $(lib-libs)

.PHONY: fuzz-run $(addprefix fuzz-run-,$(fuzz-names))
fuzz:  ## fuzz by clang's libFuzzer: T=NAME only that target, S=SECONDS for each (60); -j runs several
	@for t in $(T); do case ' $(fuzz-names) ' in *" $$t "*) ;; *) \
		echo "make fuzz: there is no target $$t; there are: $(fuzz-names)" >&2; exit 2;; esac; done
	@case '$(or $(S),60)' in *[!0-9]*) echo 'make fuzz: S= takes seconds, not $(S)' >&2; exit 2;; esac
	@$(MAKE) --no-print-directory CC=clang SANITIZE=fuzzer-no-link,address,undefined fuzz-run
fuzz-run: $(addprefix fuzz-run-,$(or $(T),$(fuzz-names)))
$(addprefix fuzz-run-,$(fuzz-names)): fuzz-run-%: $(B)/tests/fuzz/fuzz_% $(B)/tests/fuzz/seeds.made
	@tests/fuzz/run.sh $< $(O)/fuzz $(or $(S),60)

# --- judgement of the sources ---------------------------------------------------------------------

.PHONY: check-layers hdr-check format-check
check-layers:  ## a folder includes only folders of lower rank
	@tests/check-layers.sh

hdr-check: | $(B)/.packages-build  ## every header compiles alone
	@for h in $(headers); do \
		$(compile) $(fuse-cflags) -Itools -Werror -fsyntax-only -x c \
			-include "$$h" /dev/null || exit 1; \
	done; echo 'hdr-check: $(words $(headers)) headers compile alone'

format-check:  ## clang-format agrees with the sources
	@clang-format --dry-run -Werror $(headers) $(lib-src) $(fuse-src) $(tools-src) $(unit-src) $(fuzz-src) $(fuzz-main) $(helper-src) $(damage-src) $(schedule-src) $(model-src)

# --- install --------------------------------------------------------------------------------------

# Relative paths: an installed tree runs from wherever it lies.
installed = bin/plyfs libexec/plyfs/plyfs-fuse share/bash-completion/completions/plyfs \
	$(man-place) $(patsubst $(B)/%,%,$(rules))
.PHONY: install uninstall clean help
install: all  ## to DESTDIR PREFIX
	$(Q)for f in $(installed); do \
		case $$f in share/*) mode=644;; *) mode=755;; esac; \
		install -D -m $$mode $(B)/$$f '$(DESTDIR)$(PREFIX)'/$$f || exit 1; \
	done

uninstall:  ## what install put there
	$(Q)cd '$(DESTDIR)$(PREFIX)' && rm -f $(installed)
	$(Q)-rmdir '$(DESTDIR)$(PREFIX)/libexec/plyfs' 2>/dev/null

clean:  ## remove the build folder of this compiler and sanitizer
	$(Q)rm -rf $(B)

help:  ## this list
	@sed -n 's/^\([a-z-]*\):[^#]*  ## /\1\t/p' Makefile | sort | expand -t 18
	@echo
	@sed -n '/^#   /s/^#   /  /p' Makefile

-include $(patsubst %.o,%.d,$(call obj,$(lib-src) $(fuse-src) $(tools-src) $(unit-src) $(fuzz-src) $(fuzz-main) $(helper-src) $(damage-src) $(schedule-src) $(model-src) $(faultyfs-src) $(wildcard bench/*.c)))
