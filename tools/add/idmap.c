/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One simultaneous map of numbers: see idmap.h. It is made name by name in order of the machine's
 * numbers, so that two names that both have to move keep their order, and is applied at once, so that 102
 * to 103 and 103 to 104 do not chain.
 *
 * ACLs: linux/posix_acl_xattr.h; capabilities: linux/capability.h, revision 3 has the number of
 * the root user of a namespace behind the sets.
 */
#include "add/idmap.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "plyfs/disk.h"

static void side_done(struct idmap_side *s)
{
	for (size_t i = 0; i < s->nknown; i++)
		free(s->known[i].name);
	for (size_t i = 0; i < s->npairs; i++)
		free(s->pairs[i].name);
	for (size_t i = 0; i < s->npreferred; i++)
		free(s->preferred[i].name);
	free(s->preferred);
	free(s->named);
	free(s->lost);
	free(s->known);
	free(s->used);
	free(s->pairs);
}

void idmap_done(struct idmap *m)
{
	for (int k = 0; k < ID_KINDS; k++)
		side_done(&m->side[k]);
	*m = (struct idmap){ 0 };
}

int idmap_used(struct idmap *m, enum id_kind kind, uint32_t id)
{
	struct idmap_side *s = &m->side[kind];

	if (s->nused && s->used[s->nused - 1] == id)
		return 0;
	if (array_grow(&s->used, &s->used_cap, s->nused + 1, sizeof(*s->used)) < 0)
		return -ENOMEM;
	s->used[s->nused++] = id;
	return 0;
}

static int add_name(struct idmap_known **v, size_t *n, size_t *cap, const char *name, size_t len, uint32_t id)
{
	char *copy;

	if (array_grow(v, cap, *n + 1, sizeof(**v)) < 0 || !(copy = strndup(name, len)))
		return -ENOMEM;
	(*v)[*n] = (struct idmap_known){ copy, id, (uint32_t)*n };
	++*n;
	return 0;
}

int idmap_known(struct idmap *m, enum id_kind kind, const char *name, size_t len, uint32_t id)
{
	struct idmap_side *s = &m->side[kind];
	int r = add_name(&s->known, &s->nknown, &s->known_cap, name, len, id);

	return r < 0 ? r : idmap_used(m, kind, id);
}

/* Files have the number: nobody else is to get it, also where the name has gone. */
int idmap_prefer(struct idmap *m, enum id_kind kind, const char *name, uint32_t id)
{
	struct idmap_side *s = &m->side[kind];
	int r = add_name(&s->preferred, &s->npreferred, &s->preferred_cap, name, strlen(name), id);

	return r < 0 ? r : idmap_used(m, kind, id);
}

void idmap_be_strict(struct idmap *m)
{
	for (int k = 0; k < ID_KINDS; k++)
		m->side[k].strict = true;
}

int idmap_lose(struct idmap *m, enum id_kind kind, uint32_t id)
{
	struct idmap_side *s = &m->side[kind];

	if (array_grow(&s->lost, &s->lost_cap, s->nlost + 1, sizeof(*s->lost)) < 0)
		return -ENOMEM;
	s->lost[s->nlost++] = id;
	return 0;
}

int idmap_known_text(struct idmap *m, enum id_kind kind, const char *text, size_t len)
{
	struct idnames names = { 0 };
	int r = idnames_parse(&names, text, len);

	for (size_t i = 0; r == 0 && i < names.n; i++)
		r = idmap_known(m, kind, names.v[i].name, strlen(names.v[i].name), names.v[i].id);
	for (size_t i = 0; r == 0 && i < names.nalso; i++)
		r = idmap_known(m, kind, names.also[i].name, strlen(names.also[i].name), names.also[i].id);
	idnames_done(&names);
	return r;
}

/* --- making ---------------------------------------------------------------------------- */

static int by_name(const void *a, const void *b)
{
	const struct idmap_known *x = a, *y = b;
	int c = strcmp(x->name, y->name);

	return c ? c : x->order < y->order ? -1 : x->order > y->order;
}

static int by_number(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

static int by_from(const void *a, const void *b)
{
	const struct idmap_pair *x = a, *y = b;

	return x->from < y->from ? -1 : x->from > y->from;
}

static void settle(struct idmap_side *s)
{
	size_t kept = 0;

	if (s->nknown)
		qsort(s->known, s->nknown, sizeof(*s->known), by_name);
	for (size_t i = 0; i < s->nknown; i++) {
		if (kept && !strcmp(s->known[kept - 1].name, s->known[i].name))
			free(s->known[i].name);
		else
			s->known[kept++] = s->known[i];
	}
	s->nknown = kept;
	if (s->nused)
		qsort(s->used, s->nused, sizeof(*s->used), by_number);
	kept = 0;
	for (size_t i = 0; i < s->nused; i++)
		if (!kept || s->used[kept - 1] != s->used[i])
			s->used[kept++] = s->used[i];
	s->nused = kept;
}

/* Where @id is, or would be, in the numbers that are used. */
static size_t place_of(const struct idmap_side *s, uint32_t id)
{
	size_t lo = 0, hi = s->nused;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (s->used[mid] < id)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static int take(struct idmap_side *s, uint32_t id)
{
	size_t at = place_of(s, id);

	if (array_grow(&s->used, &s->used_cap, s->nused + 1, sizeof(*s->used)) < 0)
		return -ENOMEM;
	memmove(s->used + at + 1, s->used + at, (s->nused - at) * sizeof(*s->used));
	s->used[at] = id;
	s->nused++;
	return 0;
}

static bool is_used(const struct idmap_side *s, uint32_t id)
{
	size_t at = place_of(s, id);

	return at < s->nused && s->used[at] == id;
}

/* The lowest number from @first to @last that nobody has; 0: none. */
static uint32_t lowest_free(const struct idmap_side *s, uint32_t first, uint32_t last)
{
	uint32_t id = first;

	for (size_t i = place_of(s, first); i < s->nused && s->used[i] == id; i++)
		id++;
	return id <= last ? id : 0;
}

static const struct idmap_known *find(const struct idmap_side *s, const char *name)
{
	size_t lo = 0, hi = s->nknown;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		int c = strcmp(s->known[mid].name, name);

		if (c == 0)
			return &s->known[mid];
		if (c < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return NULL;
}

static int give(struct idmap_side *s, enum id_kind kind, const struct idname *n, uint32_t *ret, struct ply_err *err)
{
	bool system = n->id < IDMAP_USER_FIRST;

	if (!is_used(s, n->id))
		*ret = n->id;
	else
		*ret = system ? lowest_free(s, IDMAP_SYSTEM_FIRST, IDMAP_SYSTEM_LAST) :
				lowest_free(s, IDMAP_USER_FIRST, IDMAP_USER_LAST);
	if (!*ret && n->id) {
		char shown[256];

		escape_name_to(n->name, strlen(n->name), shown, sizeof(shown));
		return ply_fail(err, -ENOSPC, PLY_R_IDS_EXHAUSTED,
				"%s %s (%u): the number is another's in the image, and none is free from %u to %u",
				kind == ID_USER ? "user" : "group", shown, n->id,
				system ? IDMAP_SYSTEM_FIRST : IDMAP_USER_FIRST, system ? IDMAP_SYSTEM_LAST : IDMAP_USER_LAST);
	}
	return take(s, *ret) < 0 ? ply_fail_nomem(err) : 0;
}

/* @n, or another name of its number, as the image knows it. */
static const struct idmap_known *find_any(const struct idmap_side *s, const struct idnames *names,
					  const struct idname *n)
{
	const struct idmap_known *known = find(s, n->name);
	size_t lo = 0, hi = names->nalso;

	while (!known && lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (names->also[mid].id < n->id)
			lo = mid + 1;
		else
			hi = mid;
	}
	for (; !known && lo < names->nalso && names->also[lo].id == n->id; lo++)
		known = find(s, names->also[lo].name);
	return known;
}

/* The number that @n has had before, where no name that is known has it, and none that has been given one. */
static bool give_again(const struct idmap *m, enum id_kind kind, const struct idname *n, uint32_t *ret)
{
	const struct idmap_side *s = &m->side[kind];

	for (size_t i = 0; i < s->npreferred; i++) {
		uint32_t id = s->preferred[i].id;
		bool taken = strcmp(s->preferred[i].name, n->name) != 0 || idmap_holder(m, kind, id);

		for (size_t k = 0; k < s->npairs && !taken; k++)
			taken = s->pairs[k].to == id;
		if (taken)
			continue;
		*ret = id;
		return true;
	}
	return false;
}

static int list_named(struct idmap_side *s, const struct idnames *names)
{
	s->named = calloc(names->n + 1, sizeof(*s->named));
	for (size_t i = 0; s->named && i < names->n; i++)
		s->named[s->nnamed++] = names->v[i].id;
	return s->named ? 0 : -ENOMEM;
}

int idmap_make(struct idmap *m, enum id_kind kind, const struct idnames *names, struct ply_err *err)
{
	struct idmap_side *s = &m->side[kind];
	int r = 0;

	settle(s);
	if (s->strict && list_named(s, names) < 0)
		return ply_fail_nomem(err);
	for (size_t i = 0; r == 0 && i < names->n; i++) {
		const struct idmap_known *known = find_any(s, names, &names->v[i]);
		struct idmap_pair p = { .from = names->v[i].id };

		if (known)
			p.to = known->id;
		else if (!give_again(m, kind, &names->v[i], &p.to))
			r = give(s, kind, &names->v[i], &p.to, err);
		if (r < 0 || p.from == p.to)
			continue;
		if (array_grow(&s->pairs, &s->pairs_cap, s->npairs + 1, sizeof(p)) < 0 ||
		    !(p.name = strdup(names->v[i].name)))
			return ply_fail_nomem(err);
		s->pairs[s->npairs++] = p;
	}
	if (s->npairs)
		qsort(s->pairs, s->npairs, sizeof(*s->pairs), by_from);
	return r;
}

const char *idmap_holder(const struct idmap *m, enum id_kind kind, uint32_t id)
{
	const struct idmap_side *s = &m->side[kind];
	const struct idmap_known *first = NULL;

	for (size_t i = 0; i < s->nknown; i++)
		if (s->known[i].id == id && (!first || s->known[i].order < first->order))
			first = &s->known[i];
	return first ? first->name : NULL;
}

bool idmap_is_lost(const struct idmap *m, enum id_kind kind, uint32_t id)
{
	const struct idmap_side *s = &m->side[kind];

	if (!s->strict || !id || (s->nnamed && bsearch(&id, s->named, s->nnamed, sizeof(id), by_number)))
		return false;
	for (size_t i = 0; i < s->nlost; i++)
		if (s->lost[i] == id)
			return true;
	return is_used(s, id);
}

uint32_t idmap_id(const struct idmap *m, enum id_kind kind, uint32_t id)
{
	const struct idmap_side *s = &m->side[kind];
	struct idmap_pair key = { .from = id };
	const struct idmap_pair *p = s->npairs ? bsearch(&key, s->pairs, s->npairs, sizeof(key), by_from) : NULL;

	return p ? p->to : idmap_is_lost(m, kind, id) ? 0 : id;
}

/* --- texts -------------------------------------------------------------------------------- */

#define OF_USER  1u
#define OF_GROUP 2u

static const struct id_file {
	const char *path;
	uint8_t fields[4];         /* by field */
} files[] = {
	{ "etc/passwd", { 0, 0, OF_USER, OF_GROUP } },
	{ "etc/passwd-", { 0, 0, OF_USER, OF_GROUP } },
	{ "var/backups/passwd.bak", { 0, 0, OF_USER, OF_GROUP } },
	{ "etc/group", { 0, 0, OF_GROUP, 0 } },
	{ "etc/group-", { 0, 0, OF_GROUP, 0 } },
	{ "var/backups/group.bak", { 0, 0, OF_GROUP, 0 } },
	{ "etc/subuid", { OF_USER, 0, 0, 0 } },
	{ "etc/subuid-", { OF_USER, 0, 0, 0 } },
	{ "etc/subgid", { OF_USER, 0, 0, 0 } },
	{ "etc/subgid-", { OF_USER, 0, 0, 0 } },
};

static const struct id_file *file_of(const char *path)
{
	for (size_t i = 0; i < ARRAY_SIZE(files); i++)
		if (!strcmp(files[i].path, path))
			return &files[i];
	return NULL;
}

bool idmap_has_ids(const char *path)
{
	return file_of(path) != NULL;
}

/* A decimal number as the tools write it. */
static bool number_of(const uint8_t *text, size_t len, uint32_t *ret)
{
	uint64_t id = 0;

	if (!len || len > 10)
		return false;
	for (size_t i = 0; i < len; i++) {
		if (text[i] < '0' || text[i] > '9')
			return false;
		id = id * 10 + (uint64_t)(text[i] - '0');
	}
	*ret = (uint32_t)id;
	return id <= UINT32_MAX;
}

static int map_field(const struct idmap *m, uint8_t what, const uint8_t *text, size_t len, struct buf *out)
{
	enum id_kind kind = what & OF_USER ? ID_USER : ID_GROUP;
	uint32_t id;

	if (!what || !number_of(text, len, &id) || idmap_id(m, kind, id) == id)
		return buf_add(out, text, len);
	return buf_printf(out, "%u", idmap_is_lost(m, kind, id) ? IDMAP_NOBODY : idmap_id(m, kind, id));
}

int idmap_text(const struct idmap *m, const char *path, const uint8_t *text, size_t len, struct buf *out)
{
	const struct id_file *f = file_of(path);
	size_t field = 0, from = 0;
	int r = 0;

	if (!f)
		return buf_add(out, text, len);
	for (size_t i = 0; r == 0 && i <= len; i++) {
		bool ends = i == len || text[i] == '\n';

		if (!ends && text[i] != ':')
			continue;
		r = map_field(m, field < ARRAY_SIZE(f->fields) ? f->fields[field] : 0, text + from, i - from, out);
		if (r == 0 && i < len)
			r = buf_add(out, text + i, 1);
		field = ends ? 0 : field + 1;
		from = i + 1;
	}
	return r;
}

/* --- xattrs ---------------------------------------------------------------------------- */

#define ACL_HEADER 4u
#define TAG_USER   2u
#define TAG_GROUP  8u

struct acl_entry {
	le16 tag, perm;
	le32 id;
};
_Static_assert(sizeof(struct acl_entry) == 8, "ACL entry");

#define CAP_ROOTID_OFF 20u
#define CAP_V3_LEN     24u
#define CAP_V3         3u          /* the highest byte of the first word */

/* Entries of one tag are sorted by number. */
static int by_acl(const void *a, const void *b)
{
	const struct acl_entry *x = a, *y = b;
	uint32_t s = le16_get(x->tag), t = le16_get(y->tag);

	if (s != t)
		return s < t ? -1 : 1;
	s = le32_get(x->id);
	t = le32_get(y->id);
	return s < t ? -1 : s > t;
}

static int map_acl(const struct idmap *m, const uint8_t *value, size_t len, uint8_t *out, size_t *ret_len)
{
	size_t n = (len - ACL_HEADER) / sizeof(struct acl_entry), left = 0;
	bool changed = false;

	memcpy(out, value, ACL_HEADER);
	for (size_t i = 0; i < n; i++) {
		struct acl_entry e;
		enum id_kind kind;
		uint32_t id;

		memcpy(&e, value + ACL_HEADER + i * sizeof(e), sizeof(e));
		id = le32_get(e.id);
		kind = le16_get(e.tag) == TAG_USER ? ID_USER : ID_GROUP;
		if (le16_get(e.tag) == TAG_USER || le16_get(e.tag) == TAG_GROUP) {
			if (idmap_is_lost(m, kind, id))
				continue;
			e.id = le32_put(idmap_id(m, kind, id));
			changed |= le32_get(e.id) != id;
		}
		memcpy(out + ACL_HEADER + left++ * sizeof(e), &e, sizeof(e));
	}
	changed |= left != n;
	if (changed)
		qsort(out + ACL_HEADER, left, sizeof(struct acl_entry), by_acl);
	*ret_len = ACL_HEADER + left * sizeof(struct acl_entry);
	return changed;
}

static bool is_acl(const char *name, size_t len)
{
	return (!strcmp(name, "system.posix_acl_access") || !strcmp(name, "system.posix_acl_default")) && len >= ACL_HEADER &&
	       (len - ACL_HEADER) % sizeof(struct acl_entry) == 0;
}

/* One of a name space. */
static bool is_capability_of_user(const char *name, const uint8_t *value, size_t len)
{
	return !strcmp(name, "security.capability") && len == CAP_V3_LEN && value[3] == CAP_V3;
}

int idmap_xattr(const struct idmap *m, const char *name, const uint8_t *value, size_t len, uint8_t *out, size_t *ret_len)
{
	*ret_len = len;
	if (is_acl(name, len))
		return map_acl(m, value, len, out, ret_len);
	if (is_capability_of_user(name, value, len)) {
		le32 id;
		uint32_t was;

		memcpy(&id, value + CAP_ROOTID_OFF, sizeof(id));
		was = le32_get(id);
		if (idmap_is_lost(m, ID_USER, was))        /* of root's name space it would say more */
			*ret_len = 0;
		id = le32_put(idmap_id(m, ID_USER, was));
		memcpy(out, value, len);
		memcpy(out + CAP_ROOTID_OFF, &id, sizeof(id));
		return le32_get(id) != was;
	}
	return 0;
}

int idmap_xattr_ids(const char *name, const uint8_t *value, size_t len, idmap_xattr_fn *fn, void *ctx)
{
	struct acl_entry e;
	le32 id;
	int r = 0;

	if (is_capability_of_user(name, value, len)) {
		memcpy(&id, value + CAP_ROOTID_OFF, sizeof(id));
		return fn(ctx, ID_USER, le32_get(id));
	}
	for (size_t at = ACL_HEADER; is_acl(name, len) && at < len && r == 0; at += sizeof(e)) {
		memcpy(&e, value + at, sizeof(e));
		if (le16_get(e.tag) == TAG_USER || le16_get(e.tag) == TAG_GROUP)
			r = fn(ctx, le16_get(e.tag) == TAG_USER ? ID_USER : ID_GROUP, le32_get(e.id));
	}
	return r;
}
