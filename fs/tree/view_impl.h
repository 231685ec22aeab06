/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Shared by the files of fs/tree only. */
#ifndef PLYFS_VIEW_IMPL_H
#define PLYFS_VIEW_IMPL_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "cache/cache.h"
#include "image/join.h"
#include "sub/sub.h"
#include "tree/view_internal.h"

struct vsub {
	struct sub *sub;           /* borrowed from the image */
	uint32_t pos;              /* in the image, by rank */
	uint32_t number;
	/* Where it has conditions: by local slot, is that component selected; by row, enum truth. */
	bool *slots;
	_Atomic uint8_t *truth;
	bool overlay;
	uint64_t *closure;         /* of an overlay: bits by position in view.subs, of all that it stands on */
	uint8_t *bad_shared;       /* by row of SHARED_FILES: what is wrong with it (view_shared.c); NULL: not looked
				    * at yet; view_shared.lock */
};

struct ply_view {
	struct ply_image *image;   /* borrowed */
	const struct join *join;   /* NULL: nothing is joined in this selection */
	struct vsub *subs;         /* by rank */
	uint32_t nsubs;
	uint16_t *by_number;       /* number -> position in subs + 1; 0: not selected */
	uint32_t *by_name;         /* positions in subs */
	uint64_t entries;          /* rows of ENTRIES of all subs */
	uint32_t noverlays;        /* 0: nothing of what follows is there */
	struct view_pairs *pairs;
	struct view_grounds *grounds;
	struct view_links *links;
	_Atomic uint64_t *shown;   /* directories of which all members are shown: a cache (view_overlay.c) */
	struct cache *cache;
	struct view_shared *shared;
	_Atomic unsigned listings; /* of directories, from their beginning, since nothing happened */
	struct ply_view_stat stat;
};

struct member {
	uint32_t i;                /* in view.subs */
	uint64_t index;
};

/* One inode of the view: the selected nodes that it is made of, by rank. */
struct vnode {
	uint64_t ino;
	bool joined;
	bool partial;              /* members that are not shown were left out: view_dir_get() */
	struct join_row row;       /* where joined */
	uint32_t n;
	struct member *m;
	struct member few[8];
};

/* Does @j, an overlay, stand on @k (positions in view.subs)? */
static inline bool view_stands_on(const struct ply_view *v, uint32_t j, uint32_t k)
{
	return v->subs[j].closure && v->subs[j].closure[k / 64] >> k % 64 & 1;
}

/* view_select.c: what @names bring in, by position in the image: @selected is all false before. */
int view_select(struct ply_image *im, const char *const *names, size_t n, bool *selected, struct ply_err *err);
int view_closures(struct ply_view *v, struct ply_err *err);

int view_stale(uint64_t ino, struct ply_err *err);

/* -ESTALE where @ino does not name an inode of this view. Release with vnode_done(). */
int vnode_get(struct ply_view *v, uint64_t ino, struct vnode *ret, struct ply_err *err);
void vnode_done(struct vnode *vn);

/* Node of the member that gives metadata and content: the lowest rank that is not implied; of a directory of
 * which overlays change something, one that they change. */
int vnode_node(struct ply_view *v, const struct vnode *vn, struct ply_node *ret,
	       struct member *ret_m, struct ply_err *err);

/* Inode number of what @e, entry @at of directory @dir in subs[@i], names; checks that the tree is
 * one there: type, and for directories and files of one name that it is this name. */
int view_child(struct ply_view *v, const struct vnode *dir, uint32_t i, uint64_t dir_index,
	       uint64_t at, const struct ply_entry *e, uint64_t *ret_ino, struct ply_err *err);

/* As view_node_ino(); 1: the node is joined, by *ret_row. */
int view_find_ino(struct ply_view *v, uint32_t i, uint64_t index, uint64_t *ret_ino, struct join_row *ret_row,
		  struct ply_err *err);

/* Is @m the one of the members of @vn that lies in subs[@i]? NULL: none does. */
static inline const struct member *vnode_member(const struct vnode *vn, uint32_t i)
{
	for (uint32_t k = 0; k < vn->n; k++)
		if (vn->m[k].i == i)
			return &vn->m[k];
	return NULL;
}

/* --- view_pairs.c ------------------------------------------------------------------------ */

/* References of nodes as in COLLISIONS; with this bit a row of ENTRIES, plus 1. */
#define PAIR_WHITEOUT (1ULL << 63)

int view_pairs_open(struct ply_view *v, const struct ply_view_options *o, struct ply_err *err);
struct view_pairs *view_pairs_free(struct view_pairs *p);
/* Places of pairs, for view_pairs_get(). */
struct view_pair_range {
	uint64_t at, n;
};
/* Pairs whose second is @key; also of sub-images that are not selected, where they are not kept. */
int view_pairs_with(const struct ply_view *v, uint64_t key, struct view_pair_range *ret, struct ply_err *err);
int view_pairs_get(const struct ply_view *v, uint64_t at, struct view_pair *ret, struct ply_err *err);
/* The one of them whose first is @key: 1, or 0: there is none. */
int view_pairs_find(const struct ply_view *v, const struct view_pair_range *range, uint64_t key, struct view_pair *ret,
		    struct ply_err *err);
bool view_pairs_any(const struct ply_view *v, uint8_t rule);      /* is one decided by it? */
bool view_pairs_of_types(const struct ply_view *v);                /* are two of different types? */

bool view_pairs_of_links(const struct ply_view *v);                /* has one of them several names? */
/* Is a conflict of types open? What is in a directory may then be shown or not. */
bool view_pairs_open_types(const struct ply_view *v);
/* Is the first name of view_pair_named() certainly the path where both are? */
bool view_pair_has_one_name(const struct ply_view *v, const struct view_pair *p);

/* view_links.c: how many names of a file of several are shown. @elsewhere: not the one that its node names. False: as
 * many as it has. */
struct view_links *view_links_new(void);
void view_links_free(struct view_links *l);
bool view_links_count(struct ply_view *v, uint64_t ino, bool elsewhere, uint64_t *ret);

/* --- view_overlay.c ---------------------------------------------------------------------- */

/* One sub-image's row of a name in a directory. */
struct cand {
	uint32_t i;                /* in view.subs */
	uint64_t dir, at;          /* the directory's node there; row of ENTRIES */
	uint64_t index;            /* node; of a whiteout 0 */
	uint8_t type;              /* DT_*, or PLY_T_WHITEOUT */
	bool hidden;               /* by an overlay that stands on it */
	bool part;                 /* of a shared file, the first part of which stands before it: it is one with that */
	bool own_hidden;           /* hidden itself; of a first part, hidden says: all of them are */
};

enum name_kind {
	NAME_NONE,
	NAME_DIRECTORY,
	NAME_ONE,                  /* is shown alone */
	NAME_MERGED,               /* of all heads, at the place of the first */
	NAME_BOTH,                 /* each head beside the others */
};

/* What a name is: by rank. Release with view_name_done(). */
/* Beside enum ply_rule: FIRST and LAST of a shared file in which nothing clashes but records. They settle those, the others
 * are merged. APPEND that nobody decided: heads that have a base in common are one text. */
enum { VIEW_RULE_FIRST_RECORDS = 128, VIEW_RULE_LAST_RECORDS, VIEW_RULE_APPEND };

struct view_name {
	enum name_kind kind;
	uint32_t n, shown;         /* shown: candidate whose row and node stand for all; of BOTH the first */
	uint16_t flags;            /* PLY_PAIR_F_*: in which the heads differ */
	uint8_t rule;              /* decided, or what comes without (VIEW_RULE_* too); 0: heads are merged */
	uint16_t driver;
	struct cand *c;
	struct cand few[6];
};

static inline bool cand_is_head(const struct cand *c)
{
	return !c->hidden && !c->part && c->type != PLY_T_WHITEOUT;
}

/* view_dir.c: the node of member @k, which is a directory. */
int view_dir_part(struct ply_view *v, const struct vnode *vn, uint32_t k, struct ply_node *ret, struct ply_err *err);

#define VIEW_SHOWN_SLOTS 1024u
bool vnode_has_overlay(const struct ply_view *v, const struct vnode *vn);
/* A directory, with those of its members that are shown; another inode as vnode_get() has it. */
int view_dir_get(struct ply_view *v, uint64_t ino, struct vnode *ret, struct ply_err *err);
int view_name_get(struct ply_view *v, const struct vnode *dir, const char *name, size_t len, struct view_name *ret,
		  struct ply_err *err);
void view_name_done(struct view_name *n);
/* What comes of these candidates (NULL: of those that nobody hides), as view_name has it. */
int view_name_rule(const struct ply_view *v, const struct view_name *n, const bool *heads, uint8_t *ret_rule,
		   uint16_t *ret_driver, uint16_t *ret_flags, struct ply_err *err);

/* What all those candidates stand on (NULL: all heads): bits as in vsub.closure. Whiteouts do not count. */
#define VIEW_BITS_WORDS ((PLY_NUMBER_MAX + 64) / 64)
void view_common_ground(const struct ply_view *v, const struct view_name *n, const bool *heads,
			uint64_t ret[VIEW_BITS_WORDS]);
/* Is candidate @j below head @k, and not below all heads (@common)? What it changes, or brings, then comes with @k,
 * whose own OVERRIDES do not tell of it. */
static inline bool view_comes_with(const struct ply_view *v, const struct view_name *n, const uint64_t *common, uint32_t k,
				   uint32_t j)
{
	const struct cand *a = &n->c[k], *b = &n->c[j];

	return b->type == a->type && !(common[b->i / 64] >> b->i % 64 & 1) && view_stands_on(v, a->i, b->i);
}

/* Where a file that is no directory is shown. */
struct place {
	bool elsewhere;            /* it has several names, and is not shown by the one that its node says */
	bool overlaid;             /* its directory has overlays: what follows is there */
	struct vnode dir;
	struct view_name name;
	uint32_t head;             /* of name: the candidate that is the file */
};
/* -ESTALE: it is not. Release with view_place_done(). */
int view_place_get(struct ply_view *v, const struct vnode *vn, struct place *ret, struct ply_err *err);
void view_place_done(struct place *p);
static inline bool view_place_is_merged(const struct place *p)
{
	return p->overlaid && p->name.kind == NAME_MERGED;
}

/* Name of a head of NAME_BOTH that is not the first: NAME.plyfs-SUBIMAGE; 0: it is too long. */
size_t view_beside_name(const struct ply_view *v, const char *name, size_t len, uint32_t i, char out[PLY_NAME_MAX]);
/* ... and the other way round: is @name one? */
int view_beside_find(struct ply_view *v, const struct vnode *dir, const char *name, size_t len, uint64_t *ret_ino,
		     struct ply_err *err);

/* view_read.c: as view_file(), of a vnode that the caller has; @p of a file that is no directory. */
int view_file_of(struct ply_view *v, const struct vnode *vn, const struct place *p, struct view_file *ret,
		 struct ply_err *err);

/* --- view_merged.c ------------------------------------------------------------------------ */

void view_grounds_free(struct view_grounds *g);
/* A view of subs[@i], which is no overlay, and what it requires. Valid until the next call, with view_shared.lock. */
int view_ground_of(struct ply_view *v, uint32_t i, struct ply_view **ret, struct ply_err *err);
/* Content of a merged file, appended. With view_shared.lock. */
int view_merge_locked(struct ply_view *v, const struct place *p, struct buf *out, struct ply_err *err);

/* view_cond.c */
int view_names_init(struct ply_view *v, struct ply_err *err);   /* before the next, and once */
int view_cond_init(struct ply_view *v, struct vsub *vs, struct ply_err *err);
void view_cond_done(struct vsub *vs);
#define VIEW_WORDS_MAX 1024u       /* bytes, about: a hostile condition is cut there */
/* Where what subs[@i] holds with condition @cond is: "mysql and (apache or php)". -ENOMEM without @err. */
int view_condition_words(struct ply_view *v, uint32_t i, uint32_t cond, struct buf *out, struct ply_err *err);

/* view_shared.c: @vn's node is a shared file, or merged: @p. */
struct view_shared *view_shared_new(void);
void view_shared_free(struct view_shared *s);
void view_shared_idle(struct view_shared *s);
pthread_mutex_t *view_shared_lock(struct view_shared *s);   /* guards view.grounds too */
int view_shared_size(struct ply_view *v, const struct vnode *vn, const struct place *p, uint64_t *ret,
		     struct ply_err *err);
ssize_t view_shared_read(struct ply_view *v, const struct vnode *vn, const struct place *p, uint64_t off, size_t len,
			 void *buf, struct ply_err *err);
/* A shared file as the records say. */
int view_render_locked(struct ply_view *v, const struct vnode *vn, struct buf *out, struct ply_err *err);

#endif
