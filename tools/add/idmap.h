/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Users and groups of a machine by name: which number each of its numbers is in the image. A name that
 * the image knows has the number that it has there; an unknown one keeps its own where that is free in the whole
 * image, and else gets the lowest free one of its range, as adduser does. Of several names of one number the first that
 * the image knows decides. Pure.
 *
 * A layout into a target that is in use asks the same of a target for an image: there an owner of the image without a
 * name becomes root where its number is somebody's (idmap_be_strict()), and what an earlier change has made of a name or
 * a number holds as long as it can (idmap_prefer(), idmap_lose()).
 *
 * First idmap_known() and idmap_used() for all that the image has, and for what of the machine has no name; then
 * idmap_make() once for each kind; then everything else.
 */
#ifndef PLYFS_IDMAP_H
#define PLYFS_IDMAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "capture/idnames.h"
#include "plyfs/error.h"

enum id_kind { ID_USER, ID_GROUP, ID_KINDS };

#define IDMAP_SYSTEM_FIRST 100u
#define IDMAP_SYSTEM_LAST  999u
#define IDMAP_USER_FIRST   1000u
#define IDMAP_USER_LAST    59999u  /* Debian's policy, 9.2.2 */
#define IDMAP_NOBODY       65534u

struct idmap_known {
	char *name;
	uint32_t id;
	uint32_t order;            /* of several with one name the first is the one */
};

struct idmap_pair {
	uint32_t from, to;
	char *name;
};

struct idmap_side {
	bool strict;
	uint32_t *named;           /* strict: numbers that have a name, ascending */
	size_t nnamed;
	uint32_t *lost;            /* strict: numbers without a name that are root's, whoever has them; no order */
	size_t nlost, lost_cap;
	struct idmap_known *preferred;
	size_t npreferred, preferred_cap;
	struct idmap_known *known;
	size_t nknown, known_cap;
	uint32_t *used;            /* numbers without a name, and those of known names; sorted by idmap_make() */
	size_t nused, used_cap;
	struct idmap_pair *pairs;  /* ascending by from; numbers that stay are left out */
	size_t npairs, pairs_cap;
};

struct idmap {
	struct idmap_side side[ID_KINDS];
};

void idmap_done(struct idmap *m);
/* The image has the name; -ENOMEM. */
int idmap_known(struct idmap *m, enum id_kind kind, const char *name, size_t len, uint32_t id);
/* The lines of a passwd or group of the image. -ENOMEM. */
int idmap_known_text(struct idmap *m, enum id_kind kind, const char *text, size_t len);
/* A file of the image, or one of the machine, has that owner, who has no name. -ENOMEM. */
int idmap_used(struct idmap *m, enum id_kind kind, uint32_t id);
/* @name has been given @id before: it gets it again, unless a name that is known has it. -ENOMEM. */
int idmap_prefer(struct idmap *m, enum id_kind kind, const char *name, uint32_t id);
/* Before idmap_make(): numbers without a name that are somebody's are root's. */
void idmap_be_strict(struct idmap *m);
/* The number, which has no name, is root's. -ENOMEM. */
int idmap_lose(struct idmap *m, enum id_kind kind, uint32_t id);
/* The name of the image that has the number, or NULL. */
const char *idmap_holder(const struct idmap *m, enum id_kind kind, uint32_t id);

/* @names: of the machine. IDS_EXHAUSTED. */
int idmap_make(struct idmap *m, enum id_kind kind, const struct idnames *names, struct ply_err *err);

uint32_t idmap_id(const struct idmap *m, enum id_kind kind, uint32_t id);
/* Strict: it has no name, is somebody else's, and so is root's: without setuid, setgid and capabilities. */
bool idmap_is_lost(const struct idmap *m, enum id_kind kind, uint32_t id);
static inline bool idmap_changes(const struct idmap *m)
{
	return m->side[ID_USER].npairs || m->side[ID_GROUP].npairs;
}

/* Files with numbers in them: passwd, group, subuid, subgid, and their backups. @path has no leading slash. */
bool idmap_has_ids(const char *path);
/* Append @text with other numbers; those that are lost become nobody's, since a line gives rights. -ENOMEM. */
int idmap_text(const struct idmap *m, const char *path, const uint8_t *text, size_t len, struct buf *out);
/*
 * The same of an xattr's value: 1 it is another one, 0 it stays as it is. @out holds @len bytes. Entries of an ACL that are
 * lost go, so it may become shorter; *ret_len 0: the attribute is not to be set at all.
 */
int idmap_xattr(const struct idmap *m, const char *name, const uint8_t *value, size_t len, uint8_t *out, size_t *ret_len);
typedef int idmap_xattr_fn(void *ctx, enum id_kind kind, uint32_t id);
/* Each number that idmap_xattr() would look up there. What @fn returns, if not 0, ends it and is returned. */
int idmap_xattr_ids(const char *name, const uint8_t *value, size_t len, idmap_xattr_fn *fn, void *ctx);

#endif
