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
#include "dpkg_status.h"
#include "pkgdb_internal.h"

#define DPKG     "var/lib/dpkg"
#define STATES   "var/lib/apt/extended_states"
#define TEXT_MAX DPKG_TEXT_MAX

/* A file in info/: "libc6:amd64.postinst" is the extension "postinst" of that package. */
struct info_file {
	uint32_t pkg;
	uint32_t name;             /* offset in info_names */
	uint32_t ext;              /* length of the name before the last dot */
};

struct dpkg_db {
	struct dpkg_status s;      /* first */
	int info;                  /* descriptor of info/ */
	struct buf states, diversions_text;
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

/* --- marks ------------------------------------------------------------------------ */

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
		if (!f[2].value || strcmp(f[2].value, "1"))
			continue;
		/* apt writes the native architecture for packages of architecture "all" */
		p = (struct pkg *)dpkg_find_exact(&d->s.db, f[0].value, f[1].value ? f[1].value : "");
		if (!p && (!f[1].value || !strcmp(f[1].value, d->s.db.arch)))
			p = (struct pkg *)dpkg_find_exact(&d->s.db, f[0].value, "all");
		if (p)
			p->automatic = true;
	}
	return r;
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
	uint32_t at = pkgdb_find(&d->s.db, base);

	if (at == PKG_NONE || strlen(d->s.db.pkgs[at].name) != (colon ? (size_t)(colon - base) : strlen(base)))
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
	if (d->info == -ENOENT && !d->s.db.n)
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

		if (!strcmp(info_name(d, f) + f->ext, ".list") && (!found || has_arch == d->s.fields[pkg].same))
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
		const char *at = divert(d, d->s.db.pkgs[pkg].name, path, &len);

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
	buf_done(&d->states);
	buf_done(&d->diversions_text);
	buf_done(&d->info_names);
	map_done(&d->diverted);
	free(d->info_files);
	free(d->diversions);
	dpkg_status_done(&d->s);
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
int dpkg_look_for_updates(int root, const char **ret, struct ply_err *err)
{
	int fd = inroot_open(root, DPKG "/updates", O_RDONLY | O_DIRECTORY);
	const struct dirent *e;
	DIR *dir;

	*ret = NULL;
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
			*ret = "dpkg was interrupted (/" DPKG "/updates is not empty)";
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
	if (array_grow(&d->s.db.notes, &d->s.db.notes_cap, d->s.db.nnotes + 1, sizeof(*d->s.db.notes)) < 0) {
		free(text);
		return ply_fail_nomem(err);
	}
	d->s.db.notes[d->s.db.nnotes++] = text;
	return 0;
}

static int use_states(struct dpkg_db *d, struct ply_err *err)
{
	struct ply_err e = { 0 };
	int r = read_states(d, &e);

	for (size_t i = 0; r < 0 && i < d->s.db.n; i++)
		d->s.db.pkgs[i].automatic = false;
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
	int r = inroot_read(root, DPKG "/status", TEXT_MAX, &d->s.text);

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
		r = read_optional(root, DPKG "/arch", &d->s.arch_text, err);
	if (r == 0)
		r = dpkg_status_read(&d->s, "/" DPKG "/status", err);
	if (r == 0)
		r = use_states(d, err);
	if (r == 0)
		r = use_diversions(d, err);
	if (r == 0)
		r = read_info(d, root, err);
	if (r == 0)
		r = dpkg_look_for_updates(root, &d->s.db.busy, err);
	if (r == 0)
		r = dpkg_resolve_needs(&d->s.db, d->s.fields);
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
	d->s.db.ops = &dpkg_ops;
	d->info = -1;
	r = open_database(d, root, err);
	if (r < 0) {
		pkgdb_close(&d->s.db);
		return r;
	}
	*ret = &d->s.db;
	return 0;
}
