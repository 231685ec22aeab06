/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * dpkg's database: /var/lib/dpkg/status (stanzas), diversions, info/NAME.* (a list of paths,
 * maintainer scripts ...; for packages that are installed for several architectures
 * info/NAME:ARCH.*), and apt's marks of what came only as a dependency.
 *
 * libdpkg was rejected: it is a static library without a stable interface, it exits on
 * errors, and it opens paths by name, so a symlink in the machine's /var would lead out of it.
 *
 * Locking: none; immutable after open. pkgdb_files() and pkgdb_scripts() read files and
 * touch nothing else, so threads may call them side by side.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/buf.h"
#include "base/inroot.h"
#include "base/util.h"
#include "deb822.h"
#include "dpkg_needs.h"
#include "pkgdb_internal.h"

#define DPKG     "var/lib/dpkg"
#define STATES   "var/lib/apt/extended_states"
#define TEXT_MAX ((size_t)64 << 20)        /* a status file of 60,000 packages */
#define PKGS_MAX (1u << 17)

/* A file in info/: "libc6:amd64.postinst" is the extension "postinst" of that package. */
struct info_file {
	uint32_t pkg;
	uint32_t name;             /* offset in info_names */
	uint32_t ext;              /* length of the name before the last dot */
};

struct dpkg_db {
	struct pkgdb db;           /* first */
	int info;                  /* descriptor of info/ */
	struct buf status, states, diversions_text, arch_text;
	struct dpkg_fields *fields;        /* db.n */
	size_t fields_cap;
	struct buf info_names;
	struct info_file *info_files;      /* by package, then name */
	size_t ninfo, info_cap;
	struct dpkg_diversion *diversions;
	size_t ndiversions, diversions_cap;
	struct map diverted;               /* hash of `from` -> index */
};

static const struct dpkg_db *dpkg(const struct pkgdb *db)
{
	return (const struct dpkg_db *)db;
}

/* --- status ------------------------------------------------------------------- */

/* The name becomes part of a file's name. */
static bool is_name(const char *name)
{
	size_t len = strlen(name);

	return len && len <= 200 && strchr("-+._", name[0]) == NULL &&
	       strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-+._") == len;
}

/* "want flag state": dpkg's three words. */
static int parse_status(const struct deb822 *d, unsigned line, const char *text, struct pkg *p,
			struct ply_err *err)
{
	static const char *const unfinished[] = {
		"unpacked", "half-configured", "half-installed", "triggers-awaited", "triggers-pending",
	};
	char flag[16], state[24];

	if (sscanf(text, "%*15s %15s %23s", flag, state) != 2)
		return deb822_damaged(d, line, err, "Status: is not of three words");
	p->installed = !strcmp(state, "installed");
	for (size_t i = 0; i < ARRAY_SIZE(unfinished); i++)
		if (!strcmp(state, unfinished[i]))
			p->installed = p->unfinished = true;
	if (!strcmp(flag, "reinstreq"))
		p->unfinished = true;
	if (p->installed || !strcmp(state, "config-files"))
		return 1;
	if (!strcmp(state, "not-installed"))
		return 0;
	return deb822_damaged(d, line, err, "Status: has a state that dpkg does not know");
}

/* "mariadb (1:10.11)" -> "mariadb", in place. */
static const char *source_of(char *text, const char *name)
{
	if (!text || !*text)
		return name;
	text[strcspn(text, " \t\n(")] = '\0';
	return *text ? text : name;
}

static int add_package(struct dpkg_db *d, const struct pkg *p, const struct dpkg_fields *f)
{
	int r = array_grow(&d->db.pkgs, &d->db.cap, d->db.n + 1, sizeof(*d->db.pkgs));

	if (r == 0)
		r = array_grow(&d->fields, &d->fields_cap, d->db.n + 1, sizeof(*d->fields));
	if (r == 0)
		r = map_add(&d->db.by_name, pkgdb_hash(p->name, strlen(p->name)), d->db.n);
	if (r < 0)
		return r;
	d->db.pkgs[d->db.n] = *p;
	d->fields[d->db.n++] = *f;
	return 0;
}

static const struct pkg *find_exact(const struct pkgdb *db, const char *name, const char *arch)
{
	uint64_t h = pkgdb_hash(name, strlen(name));

	for (size_t i = map_first(&db->by_name, h); i != MAP_END; i = map_next(&db->by_name, h, i)) {
		const struct pkg *p = &db->pkgs[db->by_name.slots[i].value];

		if (!strcmp(p->name, name) && !strcmp(p->arch, arch))
			return p;
	}
	return NULL;
}

enum {
	F_PACKAGE, F_STATUS, F_ARCH, F_VERSION, F_SOURCE, F_PRIORITY, F_ESSENTIAL, F_PROTECTED,
	F_MULTI_ARCH, F_SIZE, F_DESCRIPTION, F_PRE_DEPENDS, F_DEPENDS, F_RECOMMENDS, F_PROVIDES, F_COUNT
};
#define STATUS_FIELDS { \
	[F_PACKAGE] = { "Package", NULL }, [F_STATUS] = { "Status", NULL }, \
	[F_ARCH] = { "Architecture", NULL }, [F_VERSION] = { "Version", NULL }, \
	[F_SOURCE] = { "Source", NULL }, [F_PRIORITY] = { "Priority", NULL }, \
	[F_ESSENTIAL] = { "Essential", NULL }, [F_PROTECTED] = { "Protected", NULL }, \
	[F_MULTI_ARCH] = { "Multi-Arch", NULL }, [F_SIZE] = { "Installed-Size", NULL }, \
	[F_DESCRIPTION] = { "Description", NULL }, [F_PRE_DEPENDS] = { "Pre-Depends", NULL }, \
	[F_DEPENDS] = { "Depends", NULL }, [F_RECOMMENDS] = { "Recommends", NULL }, \
	[F_PROVIDES] = { "Provides", NULL }, \
}

static bool is_yes(const char *value)
{
	return value && !strcmp(value, "yes");
}

static const char *or_empty(const char *value)
{
	return value ? value : "";
}

static int read_stanza(struct dpkg_db *d, const struct deb822 *text, unsigned line,
		       const struct deb822_field *f, struct ply_err *err)
{
	const char *priority = or_empty(f[F_PRIORITY].value), *multi = or_empty(f[F_MULTI_ARCH].value);
	struct dpkg_fields fields = {
		.pre_depends = f[F_PRE_DEPENDS].value,
		.depends = f[F_DEPENDS].value,
		.recommends = f[F_RECOMMENDS].value,
		.provides = f[F_PROVIDES].value,
		.same = !strcmp(multi, "same"),
		.foreign = !strcmp(multi, "foreign"),
		.allowed = !strcmp(multi, "allowed"),
	};
	struct pkg p = {
		.name = f[F_PACKAGE].value,
		.arch = or_empty(f[F_ARCH].value),
		.version = or_empty(f[F_VERSION].value),
		.summary = or_empty(f[F_DESCRIPTION].value),
	};
	int r;

	if (!p.name || !is_name(p.name))
		return deb822_damaged(text, line, err, p.name ? "the name of a package is not allowed" :
				      "a stanza without Package:");
	if (!f[F_STATUS].value)
		return deb822_damaged(text, line, err, "a stanza without Status:");
	if (*p.arch && !is_name(p.arch))
		return deb822_damaged(text, line, err, "the name of an architecture is not allowed");
	r = parse_status(text, line, f[F_STATUS].value, &p, err);
	if (r <= 0)
		return r;
	if (find_exact(&d->db, p.name, p.arch))
		return deb822_damaged(text, line, err, "the package stands twice in the file");
	if (d->db.n >= PKGS_MAX)
		return deb822_damaged(text, line, err, "more packages than any machine has");
	/* values lie in our buffer and may be cut */
	p.source = source_of((char *)f[F_SOURCE].value, p.name);
	if (*p.summary)
		((char *)p.summary)[strcspn(p.summary, "\n")] = '\0';
	p.bytes = f[F_SIZE].value ? strtoull(f[F_SIZE].value, NULL, 10) : 0;
	p.bytes = p.bytes < UINT64_MAX >> 10 ? p.bytes << 10 : 0;
	p.important = is_yes(f[F_ESSENTIAL].value) || is_yes(f[F_PROTECTED].value) ||
		      !strcmp(priority, "required") || !strcmp(priority, "important");
	r = add_package(d, &p, &fields);
	return r < 0 ? ply_fail_nomem(err) : 0;
}

static int read_status(struct dpkg_db *d, struct ply_err *err)
{
	struct deb822_field f[F_COUNT] = STATUS_FIELDS;
	struct deb822 text;
	unsigned line = 0;
	int r = deb822_init(&text, (char *)d->status.data, d->status.len, "/" DPKG "/status", err);

	while (r >= 0 && (r = deb822_stanza(&text, f, F_COUNT, &line, err)) > 0)
		r = read_stanza(d, &text, line, f, err);
	return r;
}

/* apt's marks; a package without a mark was installed by hand. */
static int read_states(struct dpkg_db *d, struct ply_err *err)
{
	struct deb822_field f[] = { { "Package", NULL }, { "Architecture", NULL },
				    { "Auto-Installed", NULL } };
	struct deb822 text;
	unsigned line = 0;
	int r = deb822_init(&text, (char *)d->states.data, d->states.len,
			    "/" STATES, err);

	while (r >= 0 && (r = deb822_stanza(&text, f, ARRAY_SIZE(f), &line, err)) > 0) {
		struct pkg *p;

		if (!f[0].value)
			return deb822_damaged(&text, line, err, "a stanza without Package:");
		if (strcmp(or_empty(f[2].value), "1"))
			continue;
		/* apt writes the native architecture for packages of architecture "all" */
		p = (struct pkg *)find_exact(&d->db, f[0].value, or_empty(f[1].value));
		if (!p && (!f[1].value || !strcmp(f[1].value, d->db.arch)))
			p = (struct pkg *)find_exact(&d->db, f[0].value, "all");
		if (p)
			p->automatic = true;
	}
	return r;
}

/* dpkg keeps a list of architectures only where there are several; its own package tells else. */
static void find_arch(struct dpkg_db *d)
{
	static const char *const telling[] = { "dpkg", "libc6", "base-files", "bash" };
	char *first = (char *)d->arch_text.data;

	if (first) {
		first[strcspn(first, "\n")] = '\0';
		if (is_name(first)) {
			d->db.arch = first;
			return;
		}
	}
	for (size_t i = 0; i < ARRAY_SIZE(telling); i++) {
		uint32_t at = pkgdb_find(&d->db, telling[i]);

		if (at != PKG_NONE && strcmp(d->db.pkgs[at].arch, "all")) {
			d->db.arch = d->db.pkgs[at].arch;
			return;
		}
	}
	for (size_t i = 0; i < d->db.n; i++)
		if (strcmp(d->db.pkgs[i].arch, "all")) {
			d->db.arch = d->db.pkgs[i].arch;
			return;
		}
}

/* --- diversions ------------------------------------------------------------------ */

static const struct dpkg_diversion *find_diversion(const struct dpkg_db *d, const char *path, size_t len)
{
	uint64_t h = pkgdb_hash(path, len);

	for (size_t i = map_first(&d->diverted, h); i != MAP_END; i = map_next(&d->diverted, h, i)) {
		const struct dpkg_diversion *v = &d->diversions[d->diverted.slots[i].value];

		if (!strcmp(v->from, path))
			return v;
	}
	return NULL;
}

static int read_diversions(struct dpkg_db *d, struct ply_err *err)
{
	struct dpkg_diversion one;
	struct deb822 text;
	int r = deb822_init(&text, (char *)d->diversions_text.data, d->diversions_text.len,
			    "/" DPKG "/diversions", err);

	while (r >= 0 && (r = dpkg_diversion_next(&text, &one, err)) > 0) {
		if (find_diversion(d, one.from, strlen(one.from)))
			return deb822_damaged(&text, text.line, err, "the path is diverted twice");
		if (array_grow(&d->diversions, &d->diversions_cap, d->ndiversions + 1, sizeof(one)) < 0 ||
		    map_add(&d->diverted, pkgdb_hash(one.from, strlen(one.from)), d->ndiversions) < 0)
			return ply_fail_nomem(err);
		d->diversions[d->ndiversions++] = one;
	}
	return r;
}

/* Where @path of package @name lies: where another package, or the administrator, diverted it to. */
static const char *divert(const struct dpkg_db *d, const char *name, const char *path, size_t *len)
{
	const struct dpkg_diversion *v = find_diversion(d, path, *len);

	if (!v || !strcmp(v->package, name))
		return path;
	*len = strlen(v->to);
	return v->to;
}

/* --- info/ ------------------------------------------------------------------------- */

static int compare_info(const void *a, const void *b, void *names)
{
	const struct info_file *x = a, *y = b;

	if (x->pkg != y->pkg)
		return x->pkg < y->pkg ? -1 : 1;
	return strcmp((const char *)names + x->name, (const char *)names + y->name);
}

static const char *info_name(const struct dpkg_db *d, const struct info_file *f)
{
	return (const char *)d->info_names.data + f->name;
}

/* The package that a file in info/ is about, by its name without extension. */
static uint32_t info_package(const struct dpkg_db *d, const char *base)
{
	const char *colon = strchr(base, ':');
	uint32_t at = pkgdb_find(&d->db, base);

	if (at == PKG_NONE || strlen(d->db.pkgs[at].name) != (colon ? (size_t)(colon - base) : strlen(base)))
		return PKG_NONE;
	return at;
}

static int add_info(struct dpkg_db *d, const char *name)
{
	const char *dot = strrchr(name, '.');
	struct info_file f = { .name = (uint32_t)d->info_names.len };
	char base[NAME_MAX + 1];
	size_t len;
	int r;

	if (!dot || dot == name)
		return 0;
	len = (size_t)(dot - name);
	memcpy(base, name, len);
	base[len] = '\0';
	f.pkg = info_package(d, base);
	f.ext = (uint32_t)len;
	if (f.pkg == PKG_NONE)
		return 0;
	r = array_grow(&d->info_files, &d->info_cap, d->ninfo + 1, sizeof(f));
	if (r == 0 && d->info_names.len > UINT32_MAX - NAME_MAX - 1)
		r = -ENOMEM;
	if (r == 0)
		r = buf_add(&d->info_names, name, strlen(name) + 1);
	if (r == 0)
		d->info_files[d->ninfo++] = f;
	return r;
}

static int read_info(struct dpkg_db *d, int root, struct ply_err *err)
{
	const struct dirent *e;
	DIR *dir;
	int fd, r = 0;

	d->info = inroot_open(root, DPKG "/info", O_RDONLY | O_DIRECTORY);
	if (d->info == -ENOENT && !d->db.n)
		return 0;
	if (d->info < 0)
		return ply_fail_sys(err, d->info, "cannot open /" DPKG "/info");
	fd = openat(d->info, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	dir = fd < 0 ? NULL : fdopendir(fd);
	if (!dir) {
		r = -errno;
		if (fd >= 0)
			close(fd);
		return ply_fail_sys(err, r, "cannot read /" DPKG "/info");
	}
	while (r == 0 && (errno = 0, e = readdir(dir)))
		r = add_info(d, e->d_name);
	if (r == 0 && errno)
		r = -errno;
	closedir(dir);
	if (r < 0)
		return ply_fail_sys(err, r, "cannot read /" DPKG "/info");
	if (d->ninfo)
		qsort_r(d->info_files, d->ninfo, sizeof(*d->info_files), compare_info, d->info_names.data);
	return 0;
}

static size_t first_info(const struct dpkg_db *d, uint32_t pkg)
{
	size_t lo = 0, hi = d->ninfo;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (d->info_files[mid].pkg < pkg)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

/* Its list: where there are "NAME.list" and "NAME:ARCH.list", dpkg means the latter for
 * packages that may be installed for several architectures. */
static const struct info_file *find_list(const struct dpkg_db *d, uint32_t pkg)
{
	const struct info_file *found = NULL;

	for (size_t i = first_info(d, pkg); i < d->ninfo && d->info_files[i].pkg == pkg; i++) {
		const struct info_file *f = &d->info_files[i];
		bool has_arch = strchr(info_name(d, f), ':') != NULL;

		if (!strcmp(info_name(d, f) + f->ext, ".list") && (!found || has_arch == d->fields[pkg].same))
			found = f;
	}
	return found;
}

/* --- operations -------------------------------------------------------------------- */

static int list_files(const struct dpkg_db *d, uint32_t pkg, const char *name, pkgdb_file_fn fn,
		      void *ctx, struct ply_err *err)
{
	_cleanup_buf_ struct buf text = { 0 };
	char file[NAME_MAX + 32];
	struct deb822 lines;
	char *path;
	size_t len;
	int r;

	snprintf(file, sizeof(file), "/" DPKG "/info/%s", name);
	r = inroot_read_at(d->info, name, TEXT_MAX, &text);
	if (r < 0)
		return ply_fail_sys(err, r, "cannot read %s", file);
	r = deb822_init(&lines, (char *)text.data, text.len, file, err);
	while (r >= 0 && (r = dpkg_list_next(&lines, &path, &len, err)) > 0) {
		const char *at = divert(d, d->db.pkgs[pkg].name, path, &len);

		r = fn(ctx, at, len);
		if (r)
			return r;
	}
	return r;
}

static int dpkg_files(const struct pkgdb *db, uint32_t i, pkgdb_file_fn fn, void *ctx,
		      struct ply_err *err)
{
	const struct dpkg_db *d = dpkg(db);
	const struct info_file *list = find_list(d, i);
	int r = 0;

	if (!list && db->pkgs[i].installed)
		return ply_fail(err, -EBADMSG, PLY_R_PKGDB_DAMAGED,
				"/" DPKG "/info/%s.list is missing, so the files of the package are not known: "
				"reinstall it on the machine", db->pkgs[i].name);
	if (list)
		r = list_files(d, i, info_name(d, list), fn, ctx, err);
	for (size_t at = first_info(d, i); r == 0 && at < d->ninfo && d->info_files[at].pkg == i; at++) {
		char path[NAME_MAX + 32];
		int len = snprintf(path, sizeof(path), "/" DPKG "/info/%s", info_name(d, &d->info_files[at]));

		r = fn(ctx, path, (size_t)len);
	}
	return r;
}

static int dpkg_scripts(const struct pkgdb *db, uint32_t i, pkgdb_script_fn fn, void *ctx,
			struct ply_err *err)
{
	static const char *const scripts[] = { ".config", ".postinst", ".postrm", ".preinst", ".prerm" };
	const struct dpkg_db *d = dpkg(db);
	int r = 0;

	for (size_t at = first_info(d, i); r == 0 && at < d->ninfo && d->info_files[at].pkg == i; at++) {
		const struct info_file *f = &d->info_files[at];
		const char *name = info_name(d, f);
		_cleanup_buf_ struct buf text = { 0 };
		bool is_script = false;

		for (size_t s = 0; s < ARRAY_SIZE(scripts); s++)
			is_script |= !strcmp(name + f->ext, scripts[s]);
		if (!is_script)
			continue;
		r = inroot_read_at(d->info, name, TEXT_MAX, &text);
		if (r < 0)
			return ply_fail_sys(err, r, "cannot read /" DPKG "/info/%s", name);
		r = fn(ctx, name, (const char *)text.data, text.len);
	}
	return r;
}

static void dpkg_close(struct pkgdb *db)
{
	struct dpkg_db *d = (struct dpkg_db *)db;

	if (d->info >= 0)
		close(d->info);
	buf_done(&d->status);
	buf_done(&d->states);
	buf_done(&d->diversions_text);
	buf_done(&d->arch_text);
	buf_done(&d->info_names);
	map_done(&d->diverted);
	free(d->fields);
	free(d->info_files);
	free(d->diversions);
}

static const struct pkgdb_ops dpkg_ops = { dpkg_files, dpkg_scripts, dpkg_close };

/* A file that need not be there: then @out stays empty, with a NUL byte. */
static int read_optional(int root, const char *path, struct buf *out, struct ply_err *err)
{
	int r = inroot_read(root, path, TEXT_MAX, out);

	if (r == -ENOENT)
		return buf_reserve(out, 1) < 0 ? ply_fail_nomem(err) : (out->data[0] = '\0', 0);
	return r < 0 ? ply_fail_sys(err, r, "cannot read /%s", path) : 0;
}

/* dpkg journals into updates/ and empties it at the end. */
static int look_for_updates(struct dpkg_db *d, int root, struct ply_err *err)
{
	int fd = inroot_open(root, DPKG "/updates", O_RDONLY | O_DIRECTORY);
	const struct dirent *e;
	DIR *dir;

	if (fd == -ENOENT)
		return 0;
	dir = fd < 0 ? NULL : fdopendir(fd);
	if (!dir) {
		int r = fd < 0 ? fd : -errno;

		if (fd >= 0)
			close(fd);
		return ply_fail_sys(err, r, "cannot read /" DPKG "/updates");
	}
	while ((e = readdir(dir)))
		if (e->d_name[0] >= '0' && e->d_name[0] <= '9')
			d->db.busy = "dpkg was interrupted (/" DPKG "/updates is not empty)";
	closedir(dir);
	return 0;
}

/*
 * extended_states and diversions may be malformed: they are then not used at all, and that is told. (Where status
 * is, nothing is known of any package.) @r and @e are what reading gave, @instead says what that means.
 */
static int set_aside(struct dpkg_db *d, int r, const struct ply_err *e, const char *instead, struct ply_err *err)
{
	char *text;

	if (r != -EBADMSG || e->reason != PLY_R_PKGDB_DAMAGED) {
		if (r < 0 && err)
			*err = *e;
		return r;
	}
	if (asprintf(&text, "%s; %s", e->msg, instead) < 0)
		return ply_fail_nomem(err);
	if (array_grow(&d->db.notes, &d->db.notes_cap, d->db.nnotes + 1, sizeof(*d->db.notes)) < 0) {
		free(text);
		return ply_fail_nomem(err);
	}
	d->db.notes[d->db.nnotes++] = text;
	return 0;
}

static int use_states(struct dpkg_db *d, struct ply_err *err)
{
	struct ply_err e = { 0 };
	int r = read_states(d, &e);

	for (size_t i = 0; r < 0 && i < d->db.n; i++)
		d->db.pkgs[i].automatic = false;
	return set_aside(d, r, &e, "all packages count as installed by hand", err);
}

static int use_diversions(struct dpkg_db *d, struct ply_err *err)
{
	struct ply_err e = { 0 };
	int r = read_diversions(d, &e);

	if (r < 0) {
		map_done(&d->diverted);
		d->ndiversions = 0;
	}
	return set_aside(d, r, &e, "diverted files count as of the package that lists their place", err);
}

static int open_database(struct dpkg_db *d, int root, struct ply_err *err)
{
	int r = inroot_read(root, DPKG "/status", TEXT_MAX, &d->status);

	if (r == -ENOENT || r == -ENOTDIR)
		return ply_fail(err, -ENOENT, PLY_R_PKGDB_MISSING,
				"there is no package database: /" DPKG "/status does not exist");
	if (r == -EINVAL || r == -EFBIG || r == -ELOOP)
		return ply_fail(err, -EBADMSG, PLY_R_PKGDB_DAMAGED, "/" DPKG "/status %s",
				r == -EINVAL ? "is not a regular file" :
				r == -ELOOP ? "leads through too many symlinks" : "is larger than 64 MiB");
	if (r < 0)
		return ply_fail_sys(err, r, "cannot read /" DPKG "/status");
	r = read_optional(root, DPKG "/diversions", &d->diversions_text, err);
	if (r == 0)
		r = read_optional(root, STATES, &d->states, err);
	if (r == 0)
		r = read_optional(root, DPKG "/arch", &d->arch_text, err);
	if (r == 0)
		r = read_status(d, err);
	if (r == 0)
		find_arch(d);
	if (r == 0)
		r = use_states(d, err);
	if (r == 0)
		r = use_diversions(d, err);
	if (r == 0)
		r = read_info(d, root, err);
	if (r == 0)
		r = look_for_updates(d, root, err);
	if (r == 0)
		r = dpkg_resolve_needs(&d->db, d->fields);
	if (r == -ENOMEM)
		return ply_fail_nomem(err);
	if (r == -E2BIG)
		return ply_fail(err, -EBADMSG, PLY_R_PKGDB_DAMAGED,
				"/" DPKG "/status has more dependencies than any machine has");
	return r;
}

int pkgdb_open_dpkg(int root, struct pkgdb **ret, struct ply_err *err)
{
	struct dpkg_db *d = calloc(1, sizeof(*d));
	int r;

	if (!d)
		return ply_fail_nomem(err);
	d->db.ops = &dpkg_ops;
	d->db.arch = "";
	d->info = -1;
	r = open_database(d, root, err);
	if (r < 0) {
		pkgdb_close(&d->db);
		return r;
	}
	*ret = &d->db;
	return 0;
}
