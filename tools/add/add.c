/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Adding a machine: the order of things. The image is locked first, so that what is found out stays true; everything
 * that can be refused is refused before the first byte is written; and what was written counts from the moment when the
 * superblock says so (image_append.c).
 */
#include "add/add.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "add/diff.h"
#include "add/overlay.h"
#include "base/pool.h"
#include "base/util.h"
#include "capture/idnames.h"
#include "image/image_write.h"
#include "io/io.h"
#include "plyfs/version.h"
#include "sub/sub.h"

#define SUMMARY_MAX 200u
#define VIEW_CACHE  (8u << 20)     /* several views are open at once */

struct adding {
	const struct add_options *o;
	struct add_report *report;
	struct ply_image *from;
	struct ply_view *parent;
	const char **on;           /* os, and what it stands on beside it, by rank */
	uint32_t non;
	struct capture cap;
	struct capture_options copt;
	struct pkgdb *db;
	struct diff diff;
	char distro[136];
	struct buf packages;       /* lines of those that are new */
	const char **provides;
	uint32_t nprovides;
	struct buf names, summary;
};

int add_note(struct add_report *r, const char *fmt, ...)
{
	va_list ap;
	char *text;
	int n;

	va_start(ap, fmt);
	n = vasprintf(&text, fmt, ap);
	va_end(ap);
	if (n < 0)
		return -ENOMEM;
	if (array_grow(&r->notes, &r->notes_cap, r->nnotes + 1, sizeof(*r->notes)) < 0) {
		free(text);
		return -ENOMEM;
	}
	r->notes[r->nnotes++] = text;
	return 0;
}

int overlay_view(struct ply_image *image, const char *const *names, size_t n, struct ply_view **ret,
		 struct ply_err *err)
{
	const struct ply_view_options o = { .names = names, .n = n, .cache_bytes = VIEW_CACHE, .undecided_first = true };

	return ply_view_open_with(image, &o, ret, err);
}

/* --- what it stands on --------------------------------------------------------------------------- */

static const struct ply_sub_info *os_of(const struct ply_image *image)
{
	for (uint32_t i = 0; i < ply_image_nsubs(image); i++)
		if (ply_image_sub_info(image, i)->flags & PLY_SUB_OS)
			return ply_image_sub_info(image, i);
	return NULL;
}

static int unknown_sub(const struct ply_image *image, const char *name, struct ply_err *err)
{
	_cleanup_buf_ struct buf all = { 0 };
	char shown[256];

	escape_name_to(name, strlen(name), shown, sizeof(shown));
	for (uint32_t i = 0; i < ply_image_nsubs(image); i++)
		buf_printf(&all, "%s%s", i ? ", " : "", ply_image_sub_info(image, i)->name);
	return ply_fail(err, -ENOENT, PLY_R_SUB_UNKNOWN, "there is no sub-image %s; there are: %.*s", shown, (int)all.len,
			(const char *)all.data);
}

static int check_name(const struct adding *a, struct ply_err *err)
{
	char shown[256];

	escape_name_to(a->o->name, strlen(a->o->name), shown, sizeof(shown));
	if (!sub_name_ok(a->o->name, strlen(a->o->name), false))
		return ply_fail(err, -EINVAL, PLY_R_USAGE,
				"'%s' is no name for a sub-image: lower-case letters, digits and . _ -, a letter or digit first",
				shown);
	return 0;
}

static int check_new(const struct adding *a, struct ply_err *err)
{
	char shown[256];
	uint32_t i;

	escape_name_to(a->o->name, strlen(a->o->name), shown, sizeof(shown));
	if (ply_image_find_sub(a->from, a->o->name, &i) == 0)
		return ply_fail(err, -EEXIST, PLY_R_COMPONENT_TWICE,
				"the image has a sub-image %s already; choose another name, or remove that one (plyfs remove)",
				shown);
	return 0;
}

/* os first, the others in order of rank, each once. */
static int list_on(struct adding *a, struct ply_err *err)
{
	uint32_t n = ply_image_nsubs(a->from), k;
	const struct ply_sub_info *os = os_of(a->from);

	a->on = calloc(n + 1, sizeof(*a->on));
	if (!a->on)
		return ply_fail_nomem(err);
	if (!os)
		return ply_fail(err, -EINVAL, PLY_R_PARENT, "the image has no operating system to stand on");
	for (size_t i = 0; i < a->o->on->n; i++)
		if (ply_image_find_sub(a->from, a->o->on->v[i], &k) < 0)
			return unknown_sub(a->from, a->o->on->v[i], err);
	a->on[a->non++] = os->name;
	for (uint32_t i = 0; i < n; i++) {
		const struct ply_sub_info *s = ply_image_sub_info(a->from, i);
		bool named = false;

		for (size_t o = 0; o < a->o->on->n; o++)
			named |= !strcmp(a->o->on->v[o], s->name);
		if (named && s != os)
			a->on[a->non++] = s->name;
	}
	return 0;
}

/* "its distribution is debian-11, and not debian-12"; empty where they are equal. */
static int say_difference(struct buf *out, const char *what, const char *is, const char *wanted)
{
	char shown[2][128];

	if (!strcmp(is, wanted))
		return 0;
	escape_name_to(is, strlen(is), shown[0], sizeof(shown[0]));
	escape_name_to(wanted, strlen(wanted), shown[1], sizeof(shown[1]));
	return buf_printf(out, "%sits %s is %s, and not %s", out->len ? "; " : "", what, *is ? shown[0] : "not known",
			  *wanted ? shown[1] : "unknown");
}

static int check_match(struct adding *a, struct ply_err *err)
{
	const struct ply_sub_info *os = os_of(a->from);
	_cleanup_buf_ struct buf text = { 0 };

	capture_read_distro(a->cap.scan->root, a->distro, sizeof(a->distro));
	if (say_difference(&text, "distribution", a->distro, os->distro) < 0 ||
	    say_difference(&text, "architecture", a->db ? pkgdb_arch(a->db) : "", os->arch) < 0)
		return ply_fail_nomem(err);
	if (!text.len || a->o->force_mismatch)
		return 0;
	return ply_fail(err, -EINVAL, PLY_R_MISMATCH,
			"the machine is another than the image's os: %.*s; --force-mismatch adds it all the same",
			(int)text.len, (const char *)text.data);
}

/* --- packages ------------------------------------------------------------------------------------------ */

/* Bytes of a line of a packages blob up to its third tab: name, architecture, version. */
static size_t key_of(const char *line, size_t len)
{
	size_t i = 0, tabs = 0;

	for (; i < len && tabs < 3; i++)
		tabs += line[i] == '\t';
	return i;
}

static bool has_line(const char *text, size_t len, const char *key, size_t key_len)
{
	const char *end = text + len;

	while (text < end) {
		const char *nl = memchr(text, '\n', (size_t)(end - text));

		if ((size_t)(end - text) >= key_len && !memcmp(text, key, key_len))
			return true;
		text = nl ? nl + 1 : end;
	}
	return false;
}

static bool parent_has(const struct adding *a, const char *key, size_t key_len)
{
	for (uint32_t i = 0; i < ply_view_nsubs(a->parent); i++) {
		size_t len;
		const char *text = ply_image_blob(a->from, ply_view_sub(a->parent, i), PLY_BLOB_PACKAGES, &len);

		if (text && has_line(text, len, key, key_len))
			return true;
	}
	return false;
}

/* Packages that what it stands on has not, or of another version. */
static int list_packages(struct adding *a, const struct split *split)
{
	_cleanup_buf_ struct buf all = { 0 };
	size_t n;
	int r = a->db ? split_list_packages(split, a->db, 0, &all, &n) : 0;

	for (size_t at = 0, len; r == 0 && at < all.len; at += len) {
		const char *line = (const char *)all.data + at;
		const char *nl = memchr(line, '\n', all.len - at);
		size_t key, name;

		len = nl ? (size_t)(nl - line) + 1 : all.len - at;
		key = key_of(line, len);
		if (parent_has(a, line, key))
			continue;
		name = strcspn(line, "\t\n");
		r = buf_add(&a->packages, line, len);
		if (r == 0)
			r = buf_add(&a->names, line, name);
		if (r == 0)
			r = buf_add(&a->names, "", 1);
	}
	return r;
}

/* Names out of the list, each once (of several architectures); what was installed by hand is the summary. */
static int list_provides(struct adding *a)
{
	size_t n = 0;
	int r = 0;

	for (size_t i = 0; i < a->names.len; i++)
		n += !a->names.data[i];
	a->provides = calloc(n + 1, sizeof(*a->provides));
	if (!a->provides)
		return -ENOMEM;
	for (size_t at = 0; r == 0 && at < a->names.len; at += strlen((const char *)a->names.data + at) + 1) {
		const char *name = (const char *)a->names.data + at;
		uint32_t p = pkgdb_find(a->db, name);

		if (a->nprovides && !strcmp(a->provides[a->nprovides - 1], name))
			continue;
		a->provides[a->nprovides++] = name;
		if (p != PKG_NONE && !pkgdb_get(a->db, p)->automatic && a->summary.len + strlen(name) < SUMMARY_MAX)
			r = buf_printf(&a->summary, "%s%s", a->summary.len ? " " : "", name);
	}
	return r == 0 ? buf_add(&a->summary, "", 1) : r;
}

/* --- the machine --------------------------------------------------------------------------------------- */

static int open_machine(struct adding *a, struct ply_err *err)
{
	static const struct manifest nothing = { 0 };
	struct split *split = &a->report->capture.split;   /* for what the rules say of paths */
	int r = capture_scan(&a->cap, err);

	if (r == 0)
		r = capture_check_readable(&a->cap, err);
	if (r == 0)
		r = split_machine(a->cap.scan, &nothing, &a->db, split, err);
	for (size_t i = 0; r == 0 && i < split->nnotes; i++)
		if (add_note(a->report, "%s", split->notes[i]) < 0)
			r = ply_fail_nomem(err);
	if (r == 0 && a->db)
		r = pkgdb_check_finished(a->db, err);
	if (r == 0)
		r = check_match(a, err);
	return r < 0 ? r : capture_read_names(&a->cap, &a->report->users, &a->report->groups, err);
}

static int map_ids(struct adding *a, struct ply_err *err)
{
	struct idmap *ids = &a->report->ids;
	int r = known_of_image(a->from, ids, err);

	if (r == 0)
		r = known_nameless(a->cap.scan, &a->report->users, &a->report->groups, ids, a->report, err);
	if (r == 0)
		r = idmap_make(ids, ID_USER, &a->report->users, err);
	return r < 0 ? r : idmap_make(ids, ID_GROUP, &a->report->groups, err);
}

static int find_difference(struct adding *a, struct ply_err *err)
{
	const struct diff_options o = {
		.parent = a->parent,
		.ids = &a->report->ids,
		.exclude = a->o->exclude->v,
		.nexclude = a->o->exclude->n,
		.jobs = a->o->jobs,
		.allow_partial = a->o->allow_partial,
		.counters = a->o->counters,
		.cancelled = a->o->cancelled,
	};
	struct split *split = &a->report->capture.split;
	int r;

	if (list_packages(a, split) < 0 || list_provides(a) < 0)
		return ply_fail_nomem(err);
	r = diff_tree(a->cap.scan, TAKE_PTR(split->marks), &o, &a->diff, err);
	if (r < 0)
		return r;
	a->report->capture.skipped = a->cap.scan->unreadable;
	a->report->nnew = a->diff.nnew;
	a->report->nchanged = a->diff.nchanged;
	a->report->ngone = a->diff.ngone;
	return known_in_units(&a->diff, &a->report->ids, a->report, err);
}

/* --- the image ------------------------------------------------------------------------------------------- */

static uint32_t next_rank(const struct ply_image *image)
{
	uint32_t rank = 0;

	for (uint32_t i = 0; i < ply_image_nsubs(image); i++)
		rank = MAX(rank, ply_image_sub_info(image, i)->rank + 1);
	return rank;
}

static int add_sub(struct adding *a, const struct subw_result *seg, uint32_t *ret_number, struct ply_err *err)
{
	const struct imagew_sub sub = {
		.name = a->o->name,
		.arch = a->db ? pkgdb_arch(a->db) : "",
		.distro = a->distro,
		.summary = (const char *)a->summary.data,
		.rank = next_rank(a->from),
		.flags = PLY_SUB_OVERLAY,
		.requires = a->on,
		.nrequires = a->non,
		.provides = a->provides,
		.nprovides = a->nprovides,
		.stands_on = a->on,
		.nstands_on = a->non,
	};
	int r = imagew_add_sub(a->cap.image, &sub, seg, ret_number, err);

	if (r == 0 && a->packages.len)
		r = imagew_add_blob(a->cap.image, *ret_number, PLY_BLOB_PACKAGES, a->packages.data, a->packages.len, err);
	return r;
}

/* What follows from the finished segment: it is read back from the file. */
static int relate(struct adding *a, const struct subw_result *seg, uint32_t number, struct ply_err *err)
{
	struct sub *sub = NULL;
	struct io *io = NULL;
	int r = out_flush(imagew_out(a->cap.image), err);

	if (r == 0)
		r = io_open_file(a->o->image, &io, err);
	if (r == 0)
		r = sub_open(io, seg->off, seg->len, seg->digest, number, &sub, err);
	if (r == 0)
		r = overlay_join(a->cap.image, a->from, number, sub, err);
	if (r == 0 && a->o->counters)
		atomic_store(&a->o->counters->phase, "collisions");
	if (r == 0)
		r = overlay_collide(a->cap.image, a->from, number, sub, a->parent, a->report, a->o->cancelled, err);
	sub_close(sub);
	io_close(io);
	return r;
}

static int write_overlay(struct adding *a, struct ply_err *err)
{
	const struct imagew_options io = { .time_sec = a->cap.time_sec, .content_uuid = a->cap.fixed_time,
					   .message = a->o->message, .tool = "plyfs " PLYFS_VERSION };
	struct add_report *report = a->report;
	struct subw_result seg;
	uint32_t number = 0;
	int r;

	if (a->o->counters)
		atomic_store(&a->o->counters->phase, "write");
	r = pool_new(a->o->jobs, 4 * (size_t)a->o->jobs, &a->cap.pool);
	if (r < 0)
		return ply_fail_sys(err, r, "cannot start %u threads", a->o->jobs);
	r = overlay_write(&a->cap, &a->diff, &report->ids, a->parent, a->o->name, &seg, err);
	if (r == 0)
		r = add_sub(a, &seg, &number, err);
	if (r == 0)
		r = relate(a, &seg, number, err);
	if (r == 0)
		r = imagew_publish(a->cap.image, &io, err);
	if (r < 0)
		return r;
	report->files = seg.nodes - 1;
	report->bytes = seg.bytes;
	report->stored = seg.len;
	report->generation = ply_image_generation(a->from)->generation + 1;
	report->image_bytes = imagew_out(a->cap.image)->end;
	return 0;
}

int add_run(const struct add_options *o, struct add_report *ret, struct ply_err *err)
{
	struct adding a = { .o = o, .report = ret };
	int r;

	*ret = (struct add_report){ .capture.scan.root = -1 };
	a.copt = (struct capture_options){ .root = o->root, .image = o->image, .exclude = o->exclude, .level = o->level,
					   .jobs = o->jobs, .allow_partial = o->allow_partial,
					   .one_file_system = o->one_file_system, .counters = o->counters,
					   .cancelled = o->cancelled };
	a.cap = (struct capture){ .o = &a.copt, .report = &ret->capture, .scan = &ret->capture.scan,
				  .users = &ret->users, .groups = &ret->groups };
	r = check_name(&a, err);
	if (r == 0)
		r = capture_read_time(&a.cap, err);
	if (r == 0)
		r = ply_image_open(o->image, &a.from, err);
	if (r == 0)
		r = check_new(&a, err);
	if (r == 0)
		r = list_on(&a, err);
	if (r == 0)
		r = imagew_append(o->image, a.from, &a.cap.image, err);
	if (r == 0)
		r = ply_view_open(a.from, a.on, a.non, 0, &a.parent, err);
	if (r == 0)
		r = open_machine(&a, err);
	if (r == 0)
		r = map_ids(&a, err);
	if (r == 0)
		r = find_difference(&a, err);
	if (r == 0)
		r = write_overlay(&a, err);
	imagew_free(a.cap.image);
	pool_free(a.cap.pool);
	diff_done(&a.diff);
	pkgdb_close(a.db);
	ply_view_close(a.parent);
	ply_image_close(a.from);
	free(a.on);
	free(a.provides);
	free(a.cap.placed);
	buf_done(&a.packages);
	buf_done(&a.names);
	buf_done(&a.summary);
	return r;
}

void add_report_done(struct add_report *r)
{
	capture_report_done(&r->capture);
	idmap_done(&r->ids);
	idnames_done(&r->users);
	idnames_done(&r->groups);
	for (size_t i = 0; i < r->nconflicts; i++) {
		free(r->conflicts[i].path);
		free(r->conflicts[i].with);
	}
	free(r->conflicts);
	for (size_t i = 0; i < r->nnotes; i++)
		free(r->notes[i]);
	free(r->notes);
}

/* --- out again ----------------------------------------------------------------------------------------------- */

int add_remove(const char *image, const char *name, uint64_t *ret_generation, struct ply_err *err)
{
	struct capture cap = { 0 };
	struct ply_image *from = NULL;
	struct imagew *w = NULL;
	uint32_t i;
	int r = capture_read_time(&cap, err);

	if (r == 0)
		r = ply_image_open(image, &from, err);
	if (r == 0 && ply_image_find_sub(from, name, &i) < 0)
		r = unknown_sub(from, name, err);
	if (r == 0)
		r = imagew_append(image, from, &w, err);
	if (r == 0)
		r = imagew_remove_sub(w, ply_image_sub_info(from, i)->number, err);
	if (r == 0) {
		const struct imagew_options io = { .time_sec = cap.time_sec, .content_uuid = cap.fixed_time,
						   .tool = "plyfs " PLYFS_VERSION };

		*ret_generation = ply_image_generation(from)->generation + 1;
		r = imagew_publish(w, &io, err);
	}
	imagew_free(w);
	ply_image_close(from);
	return r;
}
