/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Made-up shared files for the merge drivers, from a seed, together with what each selection
 * has to see of them: written while the file is, by what stands in it, without the product's code.
 *
 * There are components 1 to 4. Whose a name is stands in it: after the first `~` come the digits of
 * all that have it (`lib~13`: any of 1 and 3); without, or with a 0, it is the operating system's.
 * A name `#...2` is component 2's. A selection is a set of bits: 1 << (component - 1).
 */
#ifndef PLYFS_TESTS_MERGE_GEN_H
#define PLYFS_TESTS_MERGE_GEN_H

#include <stdbool.h>

#include "base/buf.h"
#include "merge/merge.h"

#define GEN_COMPS 4u
#define GEN_SELECTIONS (1u << GEN_COMPS)
#define GEN_ALL (GEN_SELECTIONS - 1)

/* 0: the operating system's; else the set of components of which any has it. */
unsigned gen_mask(const char *name, size_t len);

struct gen {
	uint64_t seed, state;
	char path[128];
	struct buf want[GEN_SELECTIONS];   /* the file of each selection; [GEN_ALL] is the file itself */
	/* What the machine has besides. */
	struct buf files[4];               /* config.dat, passwords.dat, config.dat-old, passwords.dat-old; cap 0: no such file */
	struct buf link;                   /* /etc/alternatives/NAME; len 0: none */
	/* "path target" lines of the links of an alternative, sorted. */
	struct buf links[GEN_SELECTIONS];
	struct merge_facts facts;          /* conds is new for each file */
	unsigned fail_after;               /* facts: so many answers, then -EIO; 0: never */
};

/* A file for @driver. gen_done() when done with it. */
void gen_file(struct gen *g, const struct merge_driver *driver, uint64_t seed);
/* Only the facts, for files from elsewhere. */
void gen_facts(struct gen *g, uint64_t seed);
void gen_done(struct gen *g);
uint64_t gen_random(struct gen *g, uint64_t below);
/* Some bytes of @b changed, left out, doubled. */
void gen_damage(struct gen *g, struct buf *b);

/* cond_selected_fn; @ctx: const unsigned *, the selection. */
bool gen_selected(const void *ctx, uint16_t comp);

/* ld.so.cache for people: a line for each library; strings that no library needs as "left: ...". False: damaged. */
bool gen_read_cache(const struct buf *file, struct buf *out);

#endif
