/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Shared by the files of fs/ops/verify*.c only. */
#ifndef PLYFS_OPS_VERIFY_INTERNAL_H
#define PLYFS_OPS_VERIFY_INTERNAL_H

#include "image/catalog.h"
#include "image/join.h"
#include "ops/findings.h"
#include "sub/sub.h"

struct verify {
	const struct verify_options *o;
	struct io *io;
	struct pool *pool;
	struct ordered jobs;
	finding_fn fn;
	void *ctx;
	struct verify_result result;
	struct findings list;      /* not reported yet */
	struct extent_map {        /* bytes of the image that were checked */
		uint64_t off, end;
	} *covered;
	size_t ncovered, covered_cap;
};

/* Report what is in v->list. */
int verify_flush(struct verify *v, struct ply_err *err);

/*
 * Checksums, digests, padding of the segment at @off whose header @m was read from. @s: its
 * sub-image, or NULL; then blocks are checked too. Findings are reported. *ret_damaged tells
 * whether the tables cannot be trusted.
 */
int verify_segment(struct verify *v, const char *name, uint64_t off, struct meta *m, struct sub *s,
		   bool *ret_damaged, struct ply_err *err);

/* Every table of a sub-image against the others; its tables are known to be undamaged. */
int verify_tables(struct verify *v, const struct ply_sub_info *info, struct sub *s,
		  struct ply_err *err);
int verify_dirs(struct verify *v, const struct ply_sub_info *info, struct sub *s, const uint8_t *starts,
		struct ply_err *err);
/* The rows of CONDITIONS; *ret_starts, to be freed: a bit for each at which a condition begins. */
int verify_conditions(struct verify *v, const char *name, struct sub *s, uint8_t **ret_starts,
		      struct ply_err *err);
bool condition_begins(const struct sub *s, const uint8_t *starts, uint32_t cond);
/* SHARED_FILES and RECORDS; @flagged: nodes that are shared files. */
int verify_shared_rows(struct verify *v, const struct ply_sub_info *info, struct sub *s, const uint8_t *starts,
		       uint64_t flagged, struct ply_err *err);

/*
 * What conditions say over all selections of @c. Sub-images by position; conditions are of sound tables. All
 * give 1, 0, -ENOMEM, and -EUCLEAN where a condition cannot be read.
 */
struct selections;
struct selections *selections_new(const struct catalog *c, struct sub *const *subs);   /* NULL: no memory */
struct selections *selections_free(struct selections *sel);
/* Is there a selection with both sub-images in which both conditions hold? -E2BIG: that has been asked too often. */
int selections_can_have_both(struct selections *sel, uint32_t a, uint32_t a_cond, uint32_t b, uint32_t b_cond);
/* Does it hold where everything is selected? */
int selections_all_hold(struct selections *sel, uint32_t pos, uint32_t cond);

/* The join table of @c; @subs by position in the catalog, NULL where one could not be opened. */
int verify_join(struct verify *v, const struct catalog *c, struct sub *const *subs,
		const struct join *j, struct selections *sel, struct ply_err *err);
/* Every shared file, put together from all its parts. @j: NULL where nothing is joined; @by_number: positions, -1:
 * none. */
int verify_shared_files(struct verify *v, const struct catalog *c, struct sub *const *subs, const struct join *j,
			struct selections *sel, const int *by_number, struct ply_err *err);

/* What each overlay of @c stands on, and what that requires. Positions. */
struct overlays;
struct overlays *overlays_new(const struct catalog *c);   /* NULL: no memory */
struct overlays *overlays_free(struct overlays *ov);
bool overlays_stands_on(const struct overlays *ov, uint32_t pos, uint32_t other);
/* One is an overlay, and neither stands on the other. */
bool overlays_apart(const struct overlays *ov, uint32_t a, uint32_t b);
/* Two such have one name, at rows @a_at and @b_at of ENTRIES: does it differ, and no row of COLLISIONS tells? */
bool overlays_differ_untold(const struct join *j, const struct catalog *c, struct sub *const *subs, uint32_t a,
			    uint64_t a_at, const struct ply_entry *ae, uint32_t b, uint64_t b_at,
			    const struct ply_entry *be);
/* OVERRIDES, whiteouts and COLLISIONS. */
int verify_overlays(struct verify *v, const struct catalog *c, struct sub *const *subs, const struct join *j,
		    const struct overlays *ov, const int *by_number, struct ply_err *err);

/* Path of a node, "/usr/lib/x", malloc-ed; what cannot be read is "?". NULL: no memory. */
char *verify_node_path(struct sub *s, uint64_t index);
/* That of entry @at of the directory @dir. */
char *verify_entry_path(struct sub *s, uint64_t dir, uint64_t at);
/* Fill in the paths of those findings in @l that have a concern: one scan over the nodes. */
void verify_name(struct sub *s, struct findings *l);

/* A finding about node @index, with its path. */
#define NODE_FINDING(v, reason, name, s, index, ...) \
	do { \
		struct held *held_ = findings_add(&(v)->list, reason, name, 0, 0, __VA_ARGS__); \
		if (held_) \
			held_path(held_, verify_node_path(s, index)); \
	} while (0)

#endif
