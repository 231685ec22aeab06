/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Projection: see project.h. Its rules are those of FORMAT.md, "Shared files". */
#include "capture/project.h"

#include <errno.h>
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/util.h"
#include "capture/facts.h"
#include "capture/idnames.h"
#include "codec/codec.h"
#include "merge/alternatives.h"
#include "merge/diversions.h"

#define ALTERNATIVES "/var/lib/dpkg/alternatives"

struct projector {
	struct scan *scan;
	const struct pkgdb *db;
	struct split *split;
	struct projection *p;
	struct idnames groups;     /* by name: which number */
	struct diverted {          /* a path that another component's file has without that of @node */
		uint32_t node, cond;
	} *diverted;
	size_t ndiverted, diverted_cap;
	struct ply_err *err;
};

/* --- facts for the drivers --------------------------------------------------------- */

/* Where that comp is selected: any of its components. */
static int of_comp(struct projector *j, uint16_t comp, uint32_t *ret)
{
	uint16_t set[SPLIT_MAX];
	size_t n = 0;

	if (!(comp & SPLIT_SET))
		return conds_any(j->p->conds, &comp, 1, ret);
	for (size_t c = 0; c < j->split->ncomps; c++)
		if (split_holds(j->split, comp, c))
			set[n++] = (uint16_t)c;
	if (!n)
		set[n++] = 0;
	return conds_any(j->p->conds, set, n, ret);
}

static int say_package(void *ctx, const char *name, size_t len, const char *arch, size_t arch_len,
			uint32_t *ret)
{
	struct projector *j = ctx;
	char text[512];
	uint32_t pkg;

	*ret = COND_ALWAYS;
	if (!j->db || len + arch_len + 2 > sizeof(text))
		return 0;
	/* the database takes "all" and the machine's own for one */
	snprintf(text, sizeof(text), "%.*s%s%.*s", (int)len, name, arch_len ? ":" : "", (int)arch_len, arch);
	pkg = pkgdb_find(j->db, text);
	if (pkg == PKG_NONE && arch_len) {
		text[len] = '\0';
		pkg = pkgdb_find(j->db, text);
	}
	return pkg == PKG_NONE || !pkgdb_get(j->db, pkg)->installed ? 1 :
		of_comp(j, (uint16_t)j->split->closure.pkgs[pkg].comp, ret);
}

/* A path that is not there goes with the directory that it was in. */
static int say_path(void *ctx, const char *path, size_t len, uint32_t *ret)
{
	struct projector *j = ctx;
	uint32_t node = scan_lookup(j->scan, path, len);

	*ret = COND_ALWAYS;
	while (node == SCAN_NONE && len > 1) {
		const char *slash = memrchr(path, '/', len);

		if (!slash)
			return 0;
		len = (size_t)(slash - path);
		node = scan_lookup(j->scan, path, len);
	}
	for (size_t i = 0; i < j->ndiverted; i++)
		if (j->diverted[i].node == node) {
			*ret = j->diverted[i].cond;
			return 0;
		}
	return node == SCAN_NONE ? 0 : of_comp(j, j->scan->nodes[node].comp, ret);
}

/* "#106"; what is no number of a user is nobody's. */
static uint32_t number_of(const char *name, size_t len)
{
	uint64_t n = 0;

	for (size_t i = 1; i < len && name[i] >= '0' && name[i] <= '9' && n <= UINT32_MAX; i++)
		n = n * 10 + (uint64_t)(name[i] - '0');
	return (uint32_t)MIN(n, (uint64_t)UINT32_MAX);
}

static int say_user(void *ctx, const char *name, size_t len, uint32_t *ret)
{
	struct projector *j = ctx;
	uint16_t comp = len && *name == '#' ? facts_user(j->split->facts, number_of(name, len)) :
				       facts_user_named(j->split->facts, name, len);

	*ret = COND_ALWAYS;
	return comp == FACT_NONE ? 0 : of_comp(j, comp, ret);
}

static int say_group(void *ctx, const char *name, size_t len, uint32_t *ret)
{
	struct projector *j = ctx;

	*ret = COND_ALWAYS;
	if (len && *name == '#') {
		uint16_t comp = facts_group(j->split->facts, number_of(name, len));

		return comp == FACT_NONE ? 0 : of_comp(j, comp, ret);
	}
	for (size_t i = 0; i < j->groups.n; i++)
		if (strlen(j->groups.v[i].name) == len && !memcmp(j->groups.v[i].name, name, len)) {
			uint16_t comp = facts_group(j->split->facts, j->groups.v[i].id);

			return comp == FACT_NONE ? 0 : of_comp(j, comp, ret);
		}
	return 0;
}

/* One that is left out of the image, or is too large, tells nothing of the others. */
static int say_file(void *ctx, const char *path, struct buf *out)
{
	struct projector *j = ctx;
	uint32_t node = scan_lookup(j->scan, path, strlen(path));
	int r;

	if (node == SCAN_NONE || !S_ISREG(j->scan->nodes[node].mode))
		return -ENOENT;
	r = j->scan->nodes[node].flags & SCAN_UNREADABLE ? -EACCES : facts_read(j->scan, node, MERGE_FILE_MAX, out);
	if (r != -EACCES && r != -EFBIG)
		return r;
	out->len = 0;
	r = split_note(j->split, "%s %s: what only it tells of other files is not known", path,
		       r == -EFBIG ? "is too large to be cut" : "cannot be read");
	return r < 0 ? r : -ENOENT;
}

static int say_link(void *ctx, const char *path, struct buf *out)
{
	struct projector *j = ctx;
	uint32_t node = scan_lookup(j->scan, path, strlen(path));

	if (node == SCAN_NONE || !S_ISLNK(j->scan->nodes[node].mode))
		return -ENOENT;
	return buf_add(out, scan_target(j->scan, node), strlen(scan_target(j->scan, node)));
}

/* --- conditions of entries ------------------------------------------------------------ */

static int set_cond(struct projector *j, uint32_t node, uint32_t cond)
{
	struct projection *p = j->p;

	if (cond == COND_ALWAYS && !p->entry_cond)
		return 0;
	if (!p->entry_cond) {
		p->entry_cond = calloc(j->scan->n, sizeof(*p->entry_cond));
		if (!p->entry_cond)
			return -ENOMEM;
	}
	p->entry_cond[node] = cond;
	return 0;
}

static bool is_dropped(const struct projector *j, uint32_t node)
{
	return (j->split->marks[node] & PLY_MARK_SUBSET) == PLY_MARK_DROP && !S_ISDIR(j->scan->nodes[node].mode);
}

/*
 * A cache tells of everything that is installed: only the whole machine has it. A file with a name that is none stays under
 * all its names: its number of links would not be true in a selection.
 */
static int drop_caches(struct projector *j)
{
	_cleanup_free_ bool *stays = calloc(j->scan->ngroups + 1, sizeof(*stays));
	uint32_t all = COND_ALWAYS;
	int r = stays ? 0 : -ENOMEM;

	for (uint32_t i = 0; r == 0 && i < j->scan->n; i++)
		if (j->scan->nodes[i].group && !is_dropped(j, i))
			stays[j->scan->nodes[i].group] = true;
	for (uint16_t c = 1; r == 0 && c < j->split->ncomps; c++) {
		uint32_t one;

		r = conds_any(j->p->conds, &c, 1, &one);
		if (r == 0)
			r = conds_and(j->p->conds, all, one, &all);
	}
	for (uint32_t i = 0; r == 0 && i < j->scan->n; i++)
		if (is_dropped(j, i) && !stays[j->scan->nodes[i].group])
			r = set_cond(j, i, all);
	return r;
}

/* Does @cond say that @comp is not selected? Then what lies in it is never there. */
static bool excludes(const struct conds *conds, uint32_t cond, uint16_t comp)
{
	for (uint32_t i = 0; i < conds_nclauses(conds, cond); i++) {
		struct clause c = conds_clause(conds, cond, i);

		for (uint16_t k = 0; c.none && k < c.n; k++)
			if (c.comps[k] == comp)
				return true;
	}
	return false;
}

static int add_extra(struct projector *j, uint32_t dir, const char *name, size_t len, uint32_t node,
		     const char *target, size_t target_len, uint16_t comp, uint32_t cond)
{
	struct projection *p = j->p;
	struct extra_name e = { .dir = dir, .node = node, .name = (uint32_t)p->text.len,
				.name_len = (uint32_t)len, .target = UINT32_MAX, .cond = cond, .comp = comp };

	if (!len || len > PLY_NAME_MAX || excludes(p->conds, cond, comp))
		return 0;
	if (buf_add(&p->text, name, len) < 0 || buf_add(&p->text, "", 1) < 0)
		return -ENOMEM;
	if (target) {
		e.target = (uint32_t)p->text.len;
		if (buf_add(&p->text, target, target_len) < 0 || buf_add(&p->text, "", 1) < 0)
			return -ENOMEM;
	}
	if (array_grow(&p->extras, &p->extras_cap, p->nextras + 1, sizeof(*p->extras)) < 0)
		return -ENOMEM;
	p->extras[p->nextras++] = e;
	return 0;
}

/* The directory of an absolute path, and the name in it. */
static uint32_t split_path(const struct projector *j, const char *path, size_t len, const char **ret_name,
			   size_t *ret_len)
{
	const char *slash = memrchr(path, '/', len);
	_cleanup_free_ char *inside = NULL;
	uint32_t dir;

	if (!slash)
		return SCAN_NONE;
	*ret_name = slash + 1;
	*ret_len = len - (size_t)(slash + 1 - path);
	/* the last component of a lookup is not followed, but what is before "." is */
	if (asprintf(&inside, "%.*s/.", (int)(slash - path), path) < 0)
		return SCAN_NONE;
	dir = scan_lookup(j->scan, inside, strlen(inside));
	return dir != SCAN_NONE && S_ISDIR(j->scan->nodes[dir].mode) ? dir : SCAN_NONE;
}

/* --- diversions -------------------------------------------------------------------------- */

/* The path of @node is there with component @owner too. */
static int note_diverted(struct projector *j, uint32_t node, uint16_t owner)
{
	uint32_t its, others, cond;
	int r;

	if (node == SCAN_NONE)
		return 0;
	r = of_comp(j, j->scan->nodes[node].comp, &its);
	if (r == 0)
		r = of_comp(j, owner, &others);
	if (r == 0)
		r = conds_or(j->p->conds, its, others, &cond);
	if (r == 0 && array_grow(&j->diverted, &j->diverted_cap, j->ndiverted + 1, sizeof(*j->diverted)) < 0)
		r = -ENOMEM;
	if (r == 0)
		j->diverted[j->ndiverted++] = (struct diverted){ node, cond };
	return r;
}

/*
 * Package D has moved V's file away from its name and has put its own there. Without D, V's file has
 * its own name.
 */
static int undivert(struct projector *j, const struct diversion *d)
{
	uint16_t diverter, owner;
	char package[512];
	const char *name;
	size_t name_len;
	uint32_t with, without, pkg, dir, to;
	int r;

	snprintf(package, sizeof(package), "%.*s", (int)MIN(d->package.len, sizeof(package)), (const char *)d->package.s);
	pkg = pkgdb_find(j->db, package);      /* the administrator's own, ":", is nobody's */
	to = scan_lookup(j->scan, (const char *)d->to.s, d->to.len);
	dir = split_path(j, (const char *)d->from.s, d->from.len, &name, &name_len);
	if (pkg == PKG_NONE || to == SCAN_NONE || dir == SCAN_NONE || S_ISDIR(j->scan->nodes[to].mode))
		return 0;
	diverter = (uint16_t)j->split->closure.pkgs[pkg].comp;
	owner = j->scan->nodes[to].comp;
	if (diverter == CLOSURE_OS || diverter == owner)
		return 0;
	if (j->scan->nodes[to].group || owner & SPLIT_SET)
		return split_note(j->split, "%.*s has %s: it stays diverted in every selection", (int)d->to.len,
				  (const char *)d->to.s, owner & SPLIT_SET ? "several components" : "several names");
	r = note_diverted(j, scan_child(j->scan, dir, name, name_len), owner);
	if (r == 0)
		r = conds_any(j->p->conds, &diverter, 1, &with);
	if (r == 0)
		r = conds_none(j->p->conds, &diverter, 1, &without);
	if (r == 0)
		r = set_cond(j, to, with);
	return r < 0 ? r : add_extra(j, dir, name, name_len, to, NULL, 0, owner, without);
}

static int undivert_all(struct projector *j)
{
	_cleanup_buf_ struct buf text = { 0 };
	struct diversion d;
	struct lines l;
	int r = j->db ? say_file(j, "/var/lib/dpkg/diversions", &text) : -ENOENT, more;

	if (r < 0)
		return r == -ENOMEM ? r : 0;
	if (lines_init(&l, text.data, text.len, NULL) < 0)
		return 0;
	while ((more = diversion_next(&l, &d, NULL)) > 0) {    /* a file that is none is told when it is cut */
		r = undivert(j, &d);
		if (r < 0)
			return r;
	}
	return 0;
}

/* --- alternatives ------------------------------------------------------------------------- */

/* The components that hold what has @cond, in @ret[SPLIT_MAX]; how many: at least one. */
static size_t homes(const struct projector *j, uint32_t cond, uint16_t *ret)
{
	size_t n;
	const uint16_t *comps = conds_home(j->p->conds, cond, &n);

	if (!n)
		ret[n++] = 0;
	else
		memcpy(ret, comps, n * sizeof(*ret));
	return n;
}

/* A slave's link is there only with the file that it finally reaches. */
static bool is_there(const struct projector *j, const char *slave)
{
	return !slave || scan_lookup(j->scan, slave, strlen(slave)) != SCAN_NONE;
}

/*
 * The link @v as an extra, in each of its components from the @from-th on: the first that is selected
 * shows it, so that no two of them have one name.
 */
static int add_link(struct projector *j, const struct alternatives_link *v, uint32_t dir, const char *name,
		    size_t name_len, uint32_t as, size_t from)
{
	uint16_t comps[SPLIT_MAX];
	size_t n = homes(j, v->cond, comps);
	int r = 0;

	for (size_t k = from; r == 0 && k < n; k++) {
		uint32_t cond = v->cond, others;

		if (k) {
			r = conds_none(j->p->conds, comps, k, &others);
			if (r == 0)
				r = conds_and(j->p->conds, cond, others, &cond);
		}
		if (r == 0)
			r = add_extra(j, dir, name, name_len, as, v->target, strlen(v->target), comps[k], cond);
	}
	return r;
}

static bool is_selected(const void *ctx, uint16_t comp)
{
	(void)ctx;
	(void)comp;
	return true;
}

/* On the whole machine? Of the entries of one path at most one. */
static bool holds_with_all(const struct projector *j, const struct alternatives_link *v)
{
	return conds_hold(j->p->conds, v->cond, is_selected, NULL);
}

/*
 * @v: all that the link @path can be, @n of them. The machine has the one that holds with all components, and the others are
 * extras. Where the machine has something else, or nothing, somebody has seen to it, and no selection knows better.
 */
static int place_link(struct projector *j, const struct alternatives_link *v, size_t n)
{
	const char *name;
	size_t name_len;
	uint32_t dir = split_path(j, v->path, strlen(v->path), &name, &name_len);
	uint32_t node = dir == SCAN_NONE ? SCAN_NONE : scan_child(j->scan, dir, name, name_len);
	const char *is = node != SCAN_NONE && S_ISLNK(j->scan->nodes[node].mode) ?
		scan_target(j->scan, node) : NULL;
	uint32_t as = node == SCAN_NONE ? dir : node;
	uint16_t comps[SPLIT_MAX];
	size_t gold = n;
	int r = 0;

	if (dir == SCAN_NONE || (node != SCAN_NONE && !is))
		return 0;          /* somebody has put a file there */
	for (size_t i = 0; i < n && gold == n; i++)
		if (holds_with_all(j, &v[i]) && (is ? !strcmp(is, v[i].target) : is_there(j, v[i].slave)))
			gold = i;
	if (!is != (gold == n))
		return 0;          /* somebody's own link, or one that somebody took away */
	if (is && j->scan->nodes[node].group)
		return split_note(j->split, "%s has several names: it stays as it is in every selection", v->path);
	if (is) {
		homes(j, v[gold].cond, comps);
		j->scan->nodes[node].comp = comps[0];
		r = set_cond(j, node, v[gold].cond);
		if (r == 0)
			r = add_link(j, &v[gold], dir, name, name_len, as, 1);
	}
	for (size_t i = 0; r == 0 && i < n; i++)
		if (!holds_with_all(j, &v[i]) && is_there(j, v[i].slave))
			r = add_link(j, &v[i], dir, name, name_len, as, 0);
	return r;
}

static int by_link_path(const void *a, const void *b)
{
	const struct alternatives_link *x = a, *y = b;
	int c = strcmp(x->path, y->path);

	c = c ? c : strcmp(x->target, y->target);
	return c ? c : (x->cond > y->cond) - (x->cond < y->cond);
}

static int place_links(struct projector *j, uint32_t node, const struct buf *text,
		       const struct merge_facts *facts)
{
	struct alternatives_links links = { 0 };
	char path[512];
	int r;

	snprintf(path, sizeof(path), ALTERNATIVES "/%s", scan_name(j->scan, node));
	r = alternatives_links(path, text->data, text->len, facts, &links, NULL);
	if (links.n)
		qsort(links.v, links.n, sizeof(*links.v), by_link_path);
	for (size_t i = 0, end; r == 0 && i < links.n; i = end) {
		for (end = i + 1; end < links.n && !strcmp(links.v[end].path, links.v[i].path); end++)
			;
		r = place_link(j, &links.v[i], end - i);
	}
	alternatives_links_done(&links);
	return r == -EUCLEAN ? 0 : r;      /* told when it is cut */
}

static int place_all_links(struct projector *j, const struct merge_facts *facts)
{
	uint32_t dir = scan_lookup(j->scan, ALTERNATIVES, strlen(ALTERNATIVES));
	int r = 0;

	if (dir == SCAN_NONE || !S_ISDIR(j->scan->nodes[dir].mode))
		return 0;
	for (uint32_t i = 0; r == 0 && i < j->scan->nodes[dir].nchildren; i++) {
		uint32_t node = j->scan->nodes[dir].first_child + i;
		_cleanup_buf_ struct buf text = { 0 };

		if (!S_ISREG(j->scan->nodes[node].mode))
			continue;
		r = facts_read(j->scan, node, MERGE_FILE_MAX, &text);
		if (r == 0)
			r = place_links(j, node, &text, facts);
		else if (r != -ENOMEM)
			r = 0;
	}
	return r;
}

/* --- shared files --------------------------------------------------------------------------- */

/* All components that hold a record of the file, and its own, where it is there without records. */
static int spread(struct projector *j, struct shared_file *f)
{
	struct scan_node *n = &j->scan->nodes[f->node];
	bool first = f->driver->vanishes;
	int r = 0;

	for (size_t i = 0; r == 0 && i < f->records.n; i++) {
		size_t nhome;
		const uint16_t *comps = conds_home(j->p->conds, f->records.v[i].cond, &nhome);
		uint16_t os = 0;

		if (!nhome) {
			comps = &os;
			nhome = 1;
		}
		if (first)
			n->comp = comps[0];
		first = false;
		for (size_t k = 0; r == 0 && k < nhome; k++)
			if (!split_holds(j->split, n->comp, comps[k]))
				r = split_join(j->split, n->comp, comps[k], &n->comp);
	}
	return r;
}

/* Does a record say more than that the file's own component is selected? */
static bool is_shared(const struct projector *j, const struct shared_file *f)
{
	uint16_t own = j->scan->nodes[f->node].comp;

	for (size_t i = 0; i < f->records.n; i++) {
		uint32_t cond = f->records.v[i].cond;

		if (cond == COND_ALWAYS && own == 0)
			continue;
		if (conds_nclauses(j->p->conds, cond) == 1) {
			struct clause c = conds_clause(j->p->conds, cond, 0);

			if (!c.none && c.n == 1 && c.comps[0] == own)
				continue;
		}
		return true;
	}
	return false;
}

/* A shared file that is not cut is everybody's. */
static int stays_whole(struct projector *j, uint32_t node, const char *path, const char *why)
{
	j->scan->nodes[node].comp = 0;
	return split_note(j->split, "%s %s; it stays whole with os", path, why);
}

/* What cannot be read now might be at its turn, whole: it is left out, or nothing is captured. */
static int unreadable(struct projector *j, uint32_t node, const char *path, int code)
{
	if (code != -ENOENT && code != -ELOOP)
		return ply_fail_sys(j->err, code, "%s: cannot be read", path);
	j->scan->nodes[node].flags |= SCAN_UNREADABLE;
	return split_note(j->split, "%s has gone while it was read, and is left out", path);
}

static int cut(struct projector *j, uint32_t node, const char *path, const struct merge_driver *d,
	       const struct merge_facts *facts)
{
	struct shared_file f = { .node = node, .driver = d };
	_cleanup_buf_ struct buf text = { 0 };
	struct ply_err why = { 0 };
	int r = facts_read(j->scan, node, MERGE_FILE_MAX, &text);

	if (r < 0)
		return r == -ENOMEM ? r : r == -EFBIG ? stays_whole(j, node, path, "is too large to be cut") :
			unreadable(j, node, path, r);
	r = merge_split(d, path, text.data, text.len, facts, &f.records, &f.whole, &why);
	if (r < 0)
		return r;
	if (f.whole) {
		j->scan->nodes[node].comp = 0;
		r = split_note(j->split, "%s; it stays whole with os", why.msg);
	}
	if (r < 0 || f.whole || !is_shared(j, &f)) {
		records_done(&f.records);
		return r;
	}
	r = sha256_once(text.data, text.len, f.digest);
	if (r == 0)
		r = spread(j, &f);
	if (r == 0 && array_grow(&j->p->files, &j->p->files_cap, j->p->nfiles + 1, sizeof(f)) < 0)
		r = -ENOMEM;
	if (r < 0) {
		records_done(&f.records);
		return r;
	}
	j->p->files[j->p->nfiles++] = f;
	return 0;
}

/* The files of directory @dir whose path goes by driver @d. */
static int cut_directory(struct projector *j, const struct merge_driver *d, uint32_t dir, const char *dir_path,
			 const char *pattern, const struct merge_facts *facts)
{
	const struct scan_node *n = &j->scan->nodes[dir];
	int r = 0;

	for (uint32_t i = n->first_child; r == 0 && i < n->first_child + n->nchildren; i++) {
		const struct scan_node *f = &j->scan->nodes[i];
		_cleanup_free_ char *path = NULL;

		if (S_ISDIR(f->mode) || f->flags & SCAN_UNREADABLE || project_cond(j->p, i) != COND_ALWAYS ||
		    fnmatch(pattern, scan_name(j->scan, i), 0))
			continue;
		if (asprintf(&path, "%s/%s", dir_path, scan_name(j->scan, i)) < 0)
			return -ENOMEM;
		if (merge_driver_for(path) != d || project_shared(j->p, i))
			continue;
		if (!S_ISREG(f->mode))
			r = split_note(j->split, "%s is no regular file, and is not cut: what it leads to is the same in every selection",
				       path);
		else if (f->group)
			r = stays_whole(j, i, path, "has several names");
		else
			r = cut(j, i, path, d, facts);
	}
	return r;
}

static int by_file_node(const void *a, const void *b)
{
	const struct shared_file *x = a, *y = b;

	return x->node < y->node ? -1 : x->node > y->node;
}

static int cut_all(struct projector *j, const struct merge_facts *facts)
{
	const struct merge_driver *d;
	int r = 0;

	for (size_t i = 0; r == 0 && (d = merge_driver_at(i)); i++) {
		for (const char *const *p = d->paths; r == 0 && *p; p++) {
			const char *slash = strrchr(*p, '/');
			_cleanup_free_ char *dir_path = strndup(*p, (size_t)(slash - *p));
			uint32_t dir;

			if (!dir_path)
				return -ENOMEM;
			dir = scan_lookup(j->scan, dir_path, strlen(dir_path));
			if (dir != SCAN_NONE && S_ISDIR(j->scan->nodes[dir].mode))
				r = cut_directory(j, d, dir, dir_path, slash + 1, facts);
			if (j->p->nfiles)
				qsort(j->p->files, j->p->nfiles, sizeof(*j->p->files), by_file_node);
		}
	}
	return r;
}

/* --- all of it --------------------------------------------------------------------------------- */

static int compare_extras(const void *a, const void *b, void *text)
{
	const struct extra_name *x = a, *y = b;
	const char *t = text;
	int c;

	if (x->dir != y->dir)
		return x->dir < y->dir ? -1 : 1;
	if (x->comp != y->comp)
		return x->comp < y->comp ? -1 : 1;
	c = memcmp(t + x->name, t + y->name, MIN(x->name_len, y->name_len));
	return c ? c : (x->name_len > y->name_len) - (x->name_len < y->name_len);
}

static void settle_extras(struct projection *p)
{
	if (p->nextras)
		qsort_r(p->extras, p->nextras, sizeof(*p->extras), compare_extras, p->text.data);
}

int project(struct scan *scan, const struct pkgdb *db, struct split *split, struct projection *ret,
	    struct ply_err *err)
{
	struct projection p = { .conds = conds_new() };
	struct projector j = { .scan = scan, .db = db, .split = split, .p = &p, .err = err };
	const struct merge_facts facts = {
		.ctx = &j, .conds = p.conds, .package = say_package, .path = say_path, .user = say_user,
		.group = say_group, .file = say_file, .link = say_link,
	};
	int r = p.conds ? 0 : -ENOMEM;

	if (r == 0 && split->ncomps > 1) {
		r = idnames_read(&j.groups, scan->root, "etc/group");
		if (r != -ENOMEM)
			r = 0;
		if (r == 0)
			r = drop_caches(&j);
		/* records name paths, so links get their components first */
		if (r == 0)
			r = undivert_all(&j);
		if (r == 0)
			r = place_all_links(&j, &facts);
		if (r == 0)
			r = cut_all(&j, &facts);
	}
	idnames_done(&j.groups);
	free(j.diverted);
	if (r < 0) {
		projection_done(&p);
		if (r == -ENOMEM)
			return ply_fail_nomem(err);
		return err && err->reason != PLY_R_NONE ? r : ply_fail_sys(err, r, "the machine's shared files");
	}
	settle_extras(&p);
	*ret = p;
	return 0;
}

void projection_done(struct projection *p)
{
	for (size_t i = 0; i < p->nfiles; i++)
		records_done(&p->files[i].records);
	free(p->files);
	free(p->extras);
	free(p->entry_cond);
	buf_done(&p->text);
	conds_free(p->conds);
	*p = (struct projection){ 0 };
}

const struct shared_file *project_shared(const struct projection *p, uint32_t node)
{
	size_t lo = 0, hi = p->nfiles;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (p->files[mid].node == node)
			return &p->files[mid];
		if (p->files[mid].node < node)
			lo = mid + 1;
		else
			hi = mid;
	}
	return NULL;
}

size_t project_extras(const struct projection *p, uint32_t dir, uint16_t comp, size_t *ret_n)
{
	size_t lo = 0, hi = p->nextras, first;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		const struct extra_name *e = &p->extras[mid];

		if (e->dir < dir || (e->dir == dir && e->comp < comp))
			lo = mid + 1;
		else
			hi = mid;
	}
	for (first = lo; lo < p->nextras && p->extras[lo].dir == dir && p->extras[lo].comp == comp; lo++)
		;
	*ret_n = lo - first;
	return first;
}
