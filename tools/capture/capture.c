/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Capture: the order of things. Everything that can be refused is refused before the first
 * byte of the image is written; the image gets its name when it is whole (image_write.h).
 */
#include "capture/capture.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/inroot.h"
#include "base/pool.h"
#include "base/util.h"
#include "capture/facts.h"
#include "capture/idnames.h"
#include "image/image_write.h"
#include "plyfs/version.h"

int capture_note(char ***list, size_t *n, size_t *cap, const struct scan *scan, uint32_t node)
{
	_cleanup_buf_ struct buf path = { 0 };
	char *shown;

	if (scan_path(scan, node, &path) < 0 || array_grow(list, cap, *n + 1, sizeof(**list)) < 0)
		return -ENOMEM;
	shown = escape_name((const char *)path.data, path.len - 1);
	if (!shown)
		return -ENOMEM;
	(*list)[(*n)++] = shown;
	return 0;
}

static int read_time(struct capture *cap, struct ply_err *err)
{
	const char *text = getenv("SOURCE_DATE_EPOCH");
	char *end;

	if (!text || !*text) {
		cap->time_sec = time(NULL);
		return 0;
	}
	errno = 0;
	cap->time_sec = strtoll(text, &end, 10);
	if (errno || *end)
		return ply_fail(err, -EINVAL, PLY_R_USAGE, "SOURCE_DATE_EPOCH is '%s', not a number of seconds",
				text);
	cap->fixed_time = true;
	return 0;
}

/* "debian-12" of etc/os-release, or usr/lib/os-release; "" where neither tells. */
static void read_distro(int root, char *ret, size_t size)
{
	static const char *const files[] = { "etc/os-release", "usr/lib/os-release" };
	char id[64] = "", version[64] = "";

	*ret = '\0';
	for (size_t i = 0; i < ARRAY_SIZE(files) && !*id; i++) {
		_cleanup_buf_ struct buf text = { 0 };

		if (inroot_read(root, files[i], 65536, &text) < 0)
			continue;
		for (char *line, *rest = (char *)text.data; (line = strsep(&rest, "\n"));) {
			char *to = !strncmp(line, "ID=", 3) ? id :
				   !strncmp(line, "VERSION_ID=", 11) ? version : NULL;
			const char *value = strchr(line, '=');
			size_t len = 0;

			for (; to && value && *++value && len + 1 < sizeof(id);)
				if (strchr("abcdefghijklmnopqrstuvwxyz0123456789._-", *value))
					to[len++] = *value;
			if (to)
				to[len] = '\0';
		}
	}
	if (*id)
		snprintf(ret, size, "%s%s%s", id, *version ? "-" : "", version);
}

static int check_readable(const struct capture *cap, struct ply_err *err)
{
	_cleanup_buf_ struct buf path = { 0 };
	char shown[512];

	if (!cap->scan->unreadable || cap->o->allow_partial)
		return 0;
	if (scan_path(cap->scan, cap->scan->first_unreadable, &path) < 0)
		return ply_fail_nomem(err);
	escape_name_to((const char *)path.data, path.len - 1, shown, sizeof(shown));
	return ply_fail(err, -EACCES, PLY_R_FILES_UNREADABLE,
			"%llu files cannot be read by this user, the first is /%s; be root, or leave them out with --allow-partial",
			(unsigned long long)cap->scan->unreadable, shown);
}

/* Groups whose names lie in several components become an inode in each, and a join row. */
static int find_crossing(struct capture *cap)
{
	uint16_t *comp = malloc((cap->scan->ngroups + 1) * sizeof(*comp));

	cap->crossing = calloc(cap->scan->ngroups / 8 + 1, 1);
	if (!comp || !cap->crossing) {
		free(comp);
		return -ENOMEM;
	}
	memset(comp, 0xff, (cap->scan->ngroups + 1) * sizeof(*comp));
	for (size_t i = 0; i < cap->scan->n; i++) {
		const struct scan_node *n = &cap->scan->nodes[i];

		if (!n->group)
			continue;
		if (comp[n->group] == UINT16_MAX)
			comp[n->group] = n->comp;
		else if (comp[n->group] != n->comp)
			cap->crossing[n->group / 8] |= (uint8_t)(1 << n->group % 8);
	}
	free(comp);
	return 0;
}

static int read_names(const struct capture *cap, struct idnames *users, struct idnames *groups,
		      struct ply_err *err)
{
	int r = idnames_read(users, cap->scan->root, "etc/passwd");

	if (r < 0)
		return ply_fail_sys(err, r, "/etc/passwd of the machine cannot be read");
	r = idnames_read(groups, cap->scan->root, "etc/group");
	return r < 0 ? ply_fail_sys(err, r, "/etc/group of the machine cannot be read") : 0;
}

static uint16_t owner_of_user(void *ctx, uint32_t uid)
{
	uint16_t comp = facts_user(ctx, uid);

	return comp == FACT_NONE ? 0 : comp;
}

static uint16_t owner_of_group(void *ctx, uint32_t gid)
{
	uint16_t comp = facts_group(ctx, gid);

	return comp == FACT_NONE ? 0 : comp;
}

static int prepare(struct capture *cap, struct ply_err *err)
{
	cap->index = calloc(cap->scan->n, sizeof(*cap->index));
	cap->digest = calloc(cap->scan->n, 1);
	return cap->index && cap->digest && find_crossing(cap) == 0 ? 0 : ply_fail_nomem(err);
}

static int by_text(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The names of the packages of component @c, sorted, each once. */
static int list_packages(const struct capture *cap, const struct pkgdb *db, size_t c, const char ***ret,
			 uint32_t *ret_n)
{
	const struct closure *cl = &cap->split->closure;
	const char **v = calloc(cl->npkgs + 1, sizeof(*v));
	uint32_t n = 0, kept = 0;

	if (!v)
		return -ENOMEM;
	for (uint32_t p = 0; db && p < cl->npkgs; p++)
		if (cl->pkgs[p].comp == c && pkgdb_get(db, p)->installed)
			v[n++] = pkgdb_get(db, p)->name;
	if (n)
		qsort(v, n, sizeof(*v), by_text);
	for (uint32_t i = 0; i < n; i++)
		if (!kept || strcmp(v[kept - 1], v[i]))
			v[kept++] = v[i];
	*ret = v;
	*ret_n = kept;
	return 0;
}

static int add_sub(struct capture *cap, size_t c, const struct pkgdb *db, const char *distro,
		   const struct subw_result *seg, struct ply_err *err)
{
	const struct component *comp = &cap->split->comps[c];
	struct imagew_sub sub = {
		.name = comp->name,
		.arch = db ? pkgdb_arch(db) : "",
		.distro = distro,
		.summary = comp->summary,
		.rank = (uint32_t)c,
		.flags = comp->flags,
		.requires = comp->requires,
		.groups = comp->groups,
		.nrequires = (uint32_t)comp->nrequires,
	};
	struct capture_sub *r = &cap->report->subs[c];
	const char **packages;
	uint32_t number;
	int code;

	*r = (struct capture_sub){ comp->name, seg->nodes - 1, seg->bytes, seg->len };
	cap->report->files += r->files;
	cap->report->bytes += r->bytes;
	if (list_packages(cap, db, c, &packages, &sub.nprovides) < 0)
		return ply_fail_nomem(err);
	sub.provides = packages;
	code = imagew_add_sub(cap->image, &sub, seg, &number, err);
	free(packages);
	return code;
}

/* Which packages a sub-image has, and why: see FORMAT.md, BLOBS. */
static int add_packages(struct capture *cap, const struct pkgdb *db, uint32_t c, struct ply_err *err)
{
	_cleanup_buf_ struct buf text = { 0 };
	size_t n = 0;
	int r = split_list_packages(cap->split, db, c, &text, &n);

	if (r < 0)
		return ply_fail_nomem(err);
	return n ? imagew_add_blob(cap->image, c, PLY_BLOB_PACKAGES, text.data, text.len, err) : 0;
}

static int write_image(struct capture *cap, struct pkgdb *db, struct ply_err *err)
{
	struct imagew_options io = { .time_sec = cap->time_sec, .content_uuid = cap->fixed_time,
				     .tool = "plyfs " PLYFS_VERSION };
	char distro[136];
	int r = 0;

	read_distro(cap->scan->root, distro, sizeof(distro));
	for (size_t c = 0; r == 0 && c < cap->split->ncomps; c++) {
		struct subw_result seg;

		r = capture_write_sub(cap, c, &seg, err);
		if (r == 0)
			r = add_sub(cap, c, db, distro, &seg, err);
		if (r == 0 && db)
			r = add_packages(cap, db, (uint32_t)c, err);
	}
	for (size_t i = 0; r == 0 && i < cap->scan->nmounts; i++) {
		const struct scan_mount *m = &cap->scan->mounts[i];
		char *path;

		if (asprintf(&path, "/%s", m->path) < 0)
			return ply_fail_nomem(err);
		r = imagew_add_mount(cap->image, path, m->type, m->subtree, err);
		free(path);
	}
	if (r == 0)
		r = capture_write_joins(cap, err);
	if (r == 0)
		r = imagew_publish(cap->image, &io, err);
	cap->report->image_bytes = imagew_out(cap->image)->end;
	return r;
}

static int scan(struct capture *cap, struct ply_err *err)
{
	struct scan_options so = {
		.exclude = cap->o->exclude->v,
		.nexclude = cap->o->exclude->n,
		.one_file_system = cap->o->one_file_system,
		.counters = cap->o->counters,
		.cancelled = cap->o->cancelled,
	};
	struct stat st;
	int r;

	/* the image that will be replaced, and the new one, which may have a hidden name */
	if (stat(cap->o->image, &st) == 0)
		so.skip[0] = (struct scan_id){ st.st_dev, st.st_ino };
	if (fstat(imagew_out(cap->image)->fd, &st) == 0)
		so.skip[1] = (struct scan_id){ st.st_dev, st.st_ino };
	if (cap->o->counters)
		atomic_store(&cap->o->counters->phase, "scan");
	r = scan_tree(cap->o->root, &so, cap->scan, err);
	cap->report->skipped = cap->scan->unreadable;
	if (r == 0 && cap->scan->flagged) {
		char **one = NULL;
		size_t n = 0, room = 0;

		if (capture_note(&one, &n, &room, cap->scan, cap->scan->first_flagged) == 0)
			cap->report->first_flagged = one[0];
		free(one);
	}
	if (r == 0 && cap->o->counters) {
		atomic_store(&cap->o->counters->phase, "write");
		atomic_store(&cap->o->counters->total_bytes, cap->scan->bytes);
		atomic_store(&cap->o->counters->total_files, cap->scan->n);
		atomic_store(&cap->o->counters->bytes, 0);
		atomic_store(&cap->o->counters->files, 0);
	}
	return r;
}

int capture_run(const struct capture_options *o, struct capture_report *ret, struct ply_err *err)
{
	struct capture cap = { .o = o, .report = ret, .scan = &ret->scan, .split = &ret->split };
	struct idnames users = { 0 }, groups = { 0 };
	struct pkgdb *db = NULL;
	int r;

	*ret = (struct capture_report){ .scan.root = -1 };
	r = read_time(&cap, err);
	if (r == 0)   /* first of all: is the place for the image good? */
		r = imagew_new(o->image, o->force, &cap.image, err);
	if (r == 0)
		r = scan(&cap, err);
	if (r == 0)
		r = check_readable(&cap, err);
	if (r == 0)
		r = split_machine(cap.scan, o->wanted, &db, cap.split, err);
	if (r == 0) {
		ret->nsubs = cap.split->ncomps;
		ret->subs = calloc(ret->nsubs, sizeof(*ret->subs));
		r = ret->subs ? read_names(&cap, &users, &groups, err) : ply_fail_nomem(err);
	}
	if (r == 0)
		r = project(cap.scan, db, cap.split, &cap.projection, err);
	cap.owners = (struct subw_owner_facts){ cap.split->facts, owner_of_user, owner_of_group };
	cap.users = &users;
	cap.groups = &groups;
	if (r == 0)
		r = prepare(&cap, err);
	if (r == 0) {
		r = pool_new(o->jobs, 4 * (size_t)o->jobs, &cap.pool);
		if (r < 0)
			ply_fail_sys(err, r, "cannot start %u threads", o->jobs);
	}
	if (r == 0)
		r = write_image(&cap, db, err);
	cap.image = imagew_free(cap.image);
	pool_free(cap.pool);
	pkgdb_close(db);
	idnames_done(&users);
	idnames_done(&groups);
	free(cap.index);
	free(cap.digest);
	free(cap.crossing);
	free(cap.placed);
	projection_done(&cap.projection);
	return r;
}

static void free_list(char **list, size_t n)
{
	for (size_t i = 0; i < n; i++)
		free(list[i]);
	free(list);
}

void capture_report_done(struct capture_report *r)
{
	split_done(&r->split);
	scan_done(&r->scan);
	free(r->subs);
	free(r->first_flagged);
	free_list(r->changed, r->nchanged);
	free_list(r->vanished, r->nvanished);
}
