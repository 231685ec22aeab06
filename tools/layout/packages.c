/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * See packages.h. Lists and stanzas are outside bytes: what is read of them is bounded, and what is not understood is of
 * no package.
 *
 * Files that maintainer scripts have made are in no list, so they are compared path by path; so is what a package has
 * diverted, which its list names by the old name.
 */
#include "layout/packages.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/util.h"
#include "codec/codec.h"

#define INFO      "/var/lib/dpkg/info"
#define STATUS    "/var/lib/dpkg/status"
#define AUTOMATIC "/var/lib/apt/extended_states"
#define LISTS_MAX ((uint64_t)256 << 20)    /* bytes of all lists; hostile ones have many names */
#define NO_CLASH  UINT32_MAX

void packages_done(struct packages *p)
{
	for (size_t i = 0; i < p->nclashes; i++) {
		free(p->clashes[i].label);
		free(p->clashes[i].component);
	}
	for (size_t i = 0; i < p->npaths; i++)
		free(p->paths[i].path);
	free(p->clashes);
	free(p->paths);
	free(p->conffiles);
	free(p->there);
	buf_done(&p->status);
	target_needs_done(&p->needs);
	*p = (struct packages){ 0 };
}

/* --- stanzas --------------------------------------------------------------------------------- */

/* A piece of a text, with the empty line behind it. */
struct stanza {
	const char *at, *end;
};

/* The next one from *@at on; false: there is no more. */
static bool next_stanza(const char **at, const char *end, struct stanza *ret)
{
	const char *empty;

	while (*at < end && **at == '\n')
		(*at)++;
	if (*at == end)
		return false;
	empty = memmem(*at, (size_t)(end - *at), "\n\n", 2);
	*ret = (struct stanza){ *at, empty ? empty + 2 : end };
	*at = ret->end;
	return true;
}

/* The value of the field @name ("Package:"), with lines that continue it; its length, 0 where there is none. */
static size_t field(const struct stanza *s, const char *name, const char **ret)
{
	size_t len = strlen(name);

	for (const char *at = s->at; at < s->end;) {
		const char *eol = memchr(at, '\n', (size_t)(s->end - at)), *value = at + len;
		bool found = (size_t)(s->end - at) >= len && !memcmp(at, name, len);

		while (eol && eol + 1 < s->end && (eol[1] == ' ' || eol[1] == '\t'))
			eol = memchr(eol + 1, '\n', (size_t)(s->end - eol - 1));
		if (!eol)
			eol = s->end;
		while (found && value < eol && (*value == ' ' || *value == '\t'))
			value++;
		if (found) {
			*ret = value;
			return (size_t)(eol - value);
		}
		at = eol + 1;
	}
	return 0;
}

static bool is_text(const char *s, size_t len, const char *text)
{
	return strlen(text) == len && !memcmp(s, text, len);
}

/* Does it tell of @name of architecture @arch? One for all is in the place of the machine's own; so apt calls it. */
static bool tells_of(const struct stanza *s, const char *name, const char *arch)
{
	const char *value;
	size_t len = field(s, "Package:", &value);

	if (!is_text(value, len, name))
		return false;
	len = field(s, "Architecture:", &value);
	return !len || is_text(value, len, arch) || is_text(value, len, "all") || !strcmp(arch, "all");
}

/* --- lists --------------------------------------------------------------------------------------- */

static int add_path(struct packages *p, const char *path, uint32_t clash, struct ply_err *err)
{
	char *copy = strdup(path);

	if (!copy || array_grow(&p->paths, &p->paths_cap, p->npaths + 1, sizeof(*p->paths)) < 0) {
		free(copy);
		return ply_fail_nomem(err);
	}
	p->paths[p->npaths++] = (struct package_path){ copy, clash };
	return 0;
}

static int find_list(struct ply_view *view, const struct need_package *pkg, char out[512], uint64_t *ret_ino)
{
	int r;

	snprintf(out, 512, INFO "/%s:%s.list", pkg->name, pkg->arch);
	r = ply_view_resolve(view, out, true, ret_ino, NULL);
	if (r == -ENOENT) {
		snprintf(out, 512, INFO "/%s.list", pkg->name);
		r = ply_view_resolve(view, out, true, ret_ino, NULL);
	}
	return r;
}

/* The list that @view has of @pkg: its paths are of @clash. */
static int read_list(struct packages *p, struct ply_view *view, const struct need_package *pkg, uint32_t clash,
		     struct ply_err *err)
{
	_cleanup_buf_ struct buf text = { 0 };
	char path[512], *rest;
	uint64_t ino;
	int r = view ? find_list(view, pkg, path, &ino) : -ENOENT;

	if (r < 0)
		return 0;
	r = version_read(view, path, &text, err);
	p->bytes += text.len;
	if (r == 0 && p->bytes > LISTS_MAX)
		r = ply_fail(err, -EFBIG, PLY_R_LIMIT, "the lists of packages in " INFO " have more than %llu bytes",
			     (unsigned long long)LISTS_MAX);
	if (r < 0 || !text.len)
		return r;
	text.data[text.len] = '\0';
	rest = (char *)text.data;
	for (char *line; r == 0 && (line = strsep(&rest, "\n"));)
		if (line[0] == '/' && line[1] && strcmp(line, "/.") != 0)
			r = add_path(p, line, clash, err);
	return r;
}

/* Those of no clash first: a path is theirs. */
static int by_path(const void *a, const void *b)
{
	const struct package_path *x = a, *y = b;
	int r = strcmp(x->path, y->path);

	return r ? r : (y->clash == NO_CLASH) - (x->clash == NO_CLASH);
}

static void sort_paths(struct packages *p)
{
	size_t kept = 0;

	if (p->npaths)
		qsort(p->paths, p->npaths, sizeof(*p->paths), by_path);
	for (size_t i = 0; i < p->npaths; i++) {
		if (kept && !strcmp(p->paths[kept - 1].path, p->paths[i].path))
			free(p->paths[i].path);
		else
			p->paths[kept++] = p->paths[i];
	}
	p->npaths = kept;
}

static struct package_path *find_path(const struct packages *p, const char *path)
{
	const struct package_path key = { .path = (char *)path };
	size_t lo = 0, hi = p->npaths;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		int r = strcmp(p->paths[mid].path, key.path);

		if (r == 0)
			return &p->paths[mid];
		if (r < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return NULL;
}

/* --- clashes --------------------------------------------------------------------------------------- */

static bool has_sub(struct ply_view *view, uint32_t position)
{
	for (uint32_t i = 0; view && i < ply_view_nsubs(view); i++)
		if (ply_view_sub(view, i) == position)
			return true;
	return false;
}

char *packages_component(struct ply_view *base, struct ply_view *view, uint64_t ino, const char *otherwise)
{
	uint32_t max = ply_view_nsubs(view), n = 0;
	_cleanup_free_ uint32_t *of = calloc(max + 1u, sizeof(*of));
	const char *name = otherwise;
	int r = of && ino ? ply_view_origin(view, ino, of, max, NULL) : 0;

	n = (uint32_t)MAX(r, 0);
	for (uint32_t i = 0; i < n && i < max; i++)
		if (!has_sub(base, of[i]))
			name = ply_image_sub_info(ply_view_image(view), of[i])->name;
	return strdup(name);
}

static int add_clash(struct packages *p, const struct need_package *pkg, struct ply_view *base, struct ply_view *view,
		     const char *component)
{
	char path[512];
	uint64_t ino = 0;
	bool listed = find_list(view, pkg, path, &ino) == 0;
	size_t len = listed ? strlen(path) - strlen(INFO "/.list") : 0;
	struct package_clash c = {
		.pkg = pkg, .label = listed ? strndup(path + strlen(INFO "/"), len) : strdup(pkg->name),
		.component = packages_component(base, view, listed ? ino : 0, component),
	};

	if (!c.label || !c.component ||
	    array_grow(&p->clashes, &p->clashes_cap, p->nclashes + 1, sizeof(*p->clashes)) < 0) {
		free(c.label);
		free(c.component);
		return -ENOMEM;
	}
	p->clashes[p->nclashes++] = c;
	return 0;
}

static int find_clashes(struct packages *p, struct ply_view *base, struct ply_view *view, const char *component,
			struct ply_err *err)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < p->needs.npackages; i++)
		if (p->needs.packages[i].state == NEED_OTHER_VERSION)
			r = add_clash(p, &p->needs.packages[i], base, view, component);
	if (r < 0)
		return ply_fail_nomem(err);
	/* lists are read where they are needed */
	for (size_t i = 0, clash = 0; r == 0 && p->nclashes && i < p->needs.npackages; i++) {
		const struct need_package *pkg = &p->needs.packages[i];
		bool clashes = pkg->state == NEED_OTHER_VERSION;

		r = read_list(p, view, pkg, clashes ? (uint32_t)clash : NO_CLASH, err);
		if (r == 0 && clashes)
			r = read_list(p, base, pkg, (uint32_t)clash++, err);
	}
	sort_paths(p);
	return r;
}

/* "libc6:amd64.postinst" in the directory of lists. */
static struct package_clash *find_info(struct packages *p, const char *name)
{
	const char *dot = strrchr(name, '.'), *colon = strchr(name, ':');
	size_t len = dot ? (size_t)(dot - name) : 0, bare = colon && colon < dot ? (size_t)(colon - name) : len;

	for (size_t i = 0; len && i < p->nclashes; i++) {
		const struct need_package *pkg = p->clashes[i].pkg;

		if (is_text(name, bare, pkg->name) && (bare == len || is_text(name + bare + 1, len - bare - 1, pkg->arch)))
			return &p->clashes[i];
	}
	return NULL;
}

struct package_clash *packages_find(struct packages *p, const char *path)
{
	const size_t info = strlen(INFO "/") - 1;
	struct package_path *of;
	char absolute[4097];

	if (!p->nclashes || strlen(path) + 1 >= sizeof(absolute))
		return NULL;
	if (!strncmp(path, &(INFO "/")[1], info) && !strchr(path + info, '/'))
		return find_info(p, path + info);
	snprintf(absolute, sizeof(absolute), "/%s", path);
	of = find_path(p, absolute);
	/* lists of old name /lib for what lies in /usr/lib */
	if (!of && !strncmp(path, "usr/", 4))
		of = find_path(p, path + 3);
	return of && of->clash != NO_CLASH ? &p->clashes[of->clash] : NULL;
}

/* --- records ------------------------------------------------------------------------------------------ */

static int by_name(const void *a, const void *b)
{
	const struct need_package *const *x = a, *const *y = b;

	return strcmp((*x)->name, (*y)->name);
}

static int find_there(struct packages *p)
{
	p->there = calloc(p->needs.npackages + 1, sizeof(*p->there));
	for (size_t i = 0; p->there && i < p->needs.npackages; i++)
		if (p->needs.packages[i].state == NEED_TAKEN || p->needs.packages[i].state == NEED_OTHER_VERSION)
			p->there[p->nthere++] = &p->needs.packages[i];
	if (p->nthere)
		qsort(p->there, p->nthere, sizeof(*p->there), by_name);
	return p->there ? 0 : -ENOMEM;
}

/* The package that a stanza of the target's, or of the image's, tells of; NULL: none of them. */
static const struct need_package *package_of(const struct packages *p, const struct stanza *s)
{
	const struct need_package *const *found, *key;
	struct need_package named = { 0 };
	char name[512];
	const char *value;
	size_t len = field(s, "Package:", &value);

	if (!len || len >= sizeof(name) || !p->nthere)
		return NULL;
	memcpy(name, value, len);
	name[len] = '\0';
	named.name = name;
	key = &named;
	found = bsearch(&key, p->there, p->nthere, sizeof(*p->there), by_name);
	while (found && found > p->there && !strcmp(found[-1]->name, name))
		found--;
	for (; found && found < p->there + p->nthere && !strcmp((*found)->name, name); found++)
		if (tells_of(s, name, (*found)->arch) || tells_of(s, name, (*found)->have_arch))
			return *found;
	return NULL;
}

/* What @v tells of @pkg. */
static int add_stanza(struct buf *out, const struct version *v, const struct need_package *pkg)
{
	const char *at = (const char *)v->text.data, *end = at ? at + v->text.len : NULL;
	struct stanza s;
	int r = 0;

	while (r == 0 && v->there && v->c.loaded && at && next_stanza(&at, end, &s)) {
		if (!tells_of(&s, pkg->name, pkg->arch))
			continue;
		r = buf_add(out, s.at, (size_t)(s.end - s.at));
		if (r == 0 && s.end[-1] == '\n' && (s.end - s.at < 2 || s.end[-2] != '\n'))
			r = buf_add(out, "\n", 1);
	}
	return r;
}

bool packages_has_records(const struct packages *p, const char *path)
{
	return p->nthere && (!strcmp(path, &STATUS[1]) || !strcmp(path, &AUTOMATIC[1]));
}

int packages_restore(const struct packages *p, const char *path, const struct version *live, const struct version *base,
		     struct version *with, struct ply_err *err)
{
	const char *at = (const char *)with->text.data, *end;
	struct buf out = { 0 };
	bool changed = false;
	struct stanza s;
	int r = 0;

	if (!packages_has_records(p, path) || !with->there || !S_ISREG(with->c.mode) || !with->c.loaded || !at)
		return 0;
	end = at + with->text.len;
	while (r == 0 && next_stanza(&at, end, &s)) {
		const struct need_package *pkg = package_of(p, &s);

		r = pkg ? add_stanza(&out, pkg->state == NEED_TAKEN ? live : base, pkg) : buf_add(&out, s.at, (size_t)(s.end - s.at));
		changed |= pkg != NULL;
	}
	if (r == 0 && changed)
		r = version_set_text(with, &out);
	buf_done(&out);
	return r < 0 ? ply_fail_nomem(err) : changed;
}

/* --- configuration files ----------------------------------------------------------------------------- */

static int by_conffile(const void *a, const void *b)
{
	const struct package_conffile *x = a, *y = b;
	int r = memcmp(x->path, y->path, MIN(x->len, y->len));

	return r ? r : (x->len > y->len) - (x->len < y->len);
}

/* Lines of "PATH MD5" and maybe a word more. */
static int add_conffiles(struct packages *p, const char *value, size_t len)
{
	for (const char *at = value, *end = value + len; at < end;) {
		const char *eol = memchr(at, '\n', (size_t)(end - at)), *blank;
		struct package_conffile c;
		char hex[33];

		eol = eol ? eol : end;
		while (at < eol && *at == ' ')
			at++;
		blank = memchr(at, ' ', (size_t)(eol - at));
		if (*at == '/' && blank && eol - blank >= 33 && (eol - blank == 33 || blank[33] == ' ')) {
			c = (struct package_conffile){ .path = at, .len = (size_t)(blank - at) };
			memcpy(hex, blank + 1, 32);
			hex[32] = '\0';
			if (hex_decode(hex, c.md5, sizeof(c.md5))) {
				if (array_grow(&p->conffiles, &p->conffiles_cap, p->nconffiles + 1, sizeof(c)) < 0)
					return -ENOMEM;
				p->conffiles[p->nconffiles++] = c;
			}
		}
		at = eol + 1;
	}
	return 0;
}

static int find_conffiles(struct packages *p)
{
	const char *at = (const char *)p->status.data, *end = at ? at + p->status.len : NULL, *value;
	struct stanza s;
	int r = 0;

	while (r == 0 && p->nthere && at && next_stanza(&at, end, &s)) {
		const struct need_package *pkg = package_of(p, &s);
		size_t len = pkg && pkg->state == NEED_TAKEN ? field(&s, "Conffiles:", &value) : 0;

		r = len ? add_conffiles(p, value, len) : 0;
	}
	if (p->nconffiles)
		qsort(p->conffiles, p->nconffiles, sizeof(*p->conffiles), by_conffile);
	return r;
}

/* Is it what the package has brought? One that is not there is not. */
static bool is_original(const struct version *v, const uint8_t md5[16])
{
	uint8_t is[16];

	return v->there && S_ISREG(v->c.mode) && v->c.loaded && md5_once(v->text.data, v->text.len, is) == 0 &&
	       !memcmp(is, md5, sizeof(is));
}

static const struct package_conffile *find_conffile(const struct packages *p, const char *path)
{
	char absolute[4097];
	const struct package_conffile key = { .path = absolute, .len = strlen(path) + 1 };

	if (!p->nconffiles || key.len >= sizeof(absolute))
		return NULL;
	snprintf(absolute, sizeof(absolute), "/%s", path);
	return bsearch(&key, p->conffiles, p->nconffiles, sizeof(key), by_conffile);
}

bool packages_has_conffile(const struct packages *p, const char *path)
{
	return find_conffile(p, path);
}

enum packages_edit packages_edited(const struct packages *p, const char *path, const struct version *live,
				   const struct version *with)
{
	const struct package_conffile *c = find_conffile(p, path);
	bool ours, theirs;

	if (!c)
		return EDIT_UNKNOWN;
	ours = is_original(live, c->md5);
	theirs = is_original(with, c->md5);
	return ours == theirs ? EDIT_UNKNOWN : theirs ? EDIT_TARGET : EDIT_IMAGE;
}

/* --- the whole ------------------------------------------------------------------------------------------ */

static struct needs_text text_of(const struct buf *b)
{
	return (struct needs_text){ (const char *)b->data, b->len };
}

int packages_read(int target, struct ply_view *base, struct ply_view *view, const char *component, struct packages *ret,
		  struct ply_err *err)
{
	_cleanup_buf_ struct buf arch = { 0 }, before = { 0 }, with = { 0 }, image_arch = { 0 };
	struct needs_input in;
	int r = needs_read_target(target, &ret->status, &arch, err);

	if (r == 0 && base)
		r = version_read(base, STATUS, &before, err);
	if (r == 0)
		r = version_read(view, STATUS, &with, err);
	if (r == 0)
		r = version_read(view, "/var/lib/dpkg/arch", &image_arch, err);
	in = (struct needs_input){ .target = text_of(&ret->status), .target_arch = text_of(&arch), .base = text_of(&before),
				   .with = text_of(&with), .image_arch = text_of(&image_arch) };
	if (r == 0)
		r = needs_packages(&in, &ret->needs, err);
	if (r == 0 && (find_there(ret) < 0 || find_conffiles(ret) < 0))
		r = ply_fail_nomem(err);
	return r == 0 ? find_clashes(ret, base, view, component, err) : r;
}

int packages_describe(const struct package_clash *c, struct buf *out)
{
	const struct need_package *pkg = c->pkg;
	bool same = !strcmp(pkg->version, pkg->have);
	const char *const words[] = { c->label, pkg->have, same ? pkg->have_arch : NULL, "(target),", pkg->version,
				      same ? pkg->arch : NULL };
	int r = 0;

	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(words); i++) {
		_cleanup_free_ char *shown = words[i] ? escape_name(words[i], strlen(words[i])) : NULL;

		if (words[i])
			r = shown ? buf_printf(out, "%s%s", i ? " " : "", shown) : -ENOMEM;
	}
	return r == 0 ? buf_printf(out, " (%s)", c->component) : r;
}
