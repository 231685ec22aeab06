/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The shared files of a real root: see merge_project.h. */
#include "unit/merge_project.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/map.h"
#include "base/util.h"
#include "codec/codec.h"
#include "merge/alternatives.h"
#include "merge/drivers.h"

struct fact {
	char *key;                 /* kind, TAB, name */
	uint32_t cond;
};

struct project {
	const char *root, *out;
	struct conds *conds;
	struct map map;
	struct fact *v;
	size_t n, cap;
	char *comps[32];           /* names; [0] is os */
	size_t ncomps;
	char *selections[32];
	uint32_t selected[32];
	size_t nselections;
};

static void die(const char *what, const char *which)
{
	printf("merge_project: %s: %s: %s\n", what, which, strerror(errno));
	exit(1);
}

static uint16_t comp_of(struct project *p, const char *name)
{
	for (size_t i = 0; i < p->ncomps; i++)
		if (!strcmp(p->comps[i], name))
			return (uint16_t)i;
	if (p->ncomps == ARRAY_SIZE(p->comps))
		die("too many components", name);
	p->comps[p->ncomps] = strdup(name);
	return (uint16_t)p->ncomps++;
}

static struct fact *find(struct project *p, const char *key, size_t len)
{
	uint64_t h = xxh3(key, len, 0);

	for (size_t i = map_first(&p->map, h); i != MAP_END; i = map_next(&p->map, h, i)) {
		struct fact *f = &p->v[p->map.slots[i].value];

		if (strlen(f->key) == len && !memcmp(f->key, key, len))
			return f;
	}
	return NULL;
}

static void read_facts(struct project *p, const char *path)
{
	FILE *f = fopen(path, "r");
	char *line = NULL;
	size_t cap = 0;

	if (!f)
		die("cannot read", path);
	comp_of(p, "os");
	while (getline(&line, &cap, f) > 0) {
		char *tab = strrchr(line, '\t');
		struct fact *old;
		uint16_t comp;
		uint32_t cond;

		if (!tab)
			die("not a fact", line);
		*tab = '\0';
		tab[1 + strcspn(tab + 1, "\n")] = '\0';
		comp = comp_of(p, tab + 1);
		if (conds_any(p->conds, &comp, 1, &cond) < 0)
			die("no memory", line);
		old = find(p, line, strlen(line));
		if (old) {
			conds_or(p->conds, old->cond, cond, &old->cond);
			continue;
		}
		if (array_grow(&p->v, &p->cap, p->n + 1, sizeof(*p->v)) < 0 ||
		    map_add(&p->map, xxh3(line, strlen(line), 0), p->n) < 0)
			die("no memory", line);
		p->v[p->n++] = (struct fact){ strdup(line), cond };
	}
	free(line);
	fclose(f);
}

/* --- facts ------------------------------------------------------------------- */

static int ask(struct project *p, const char *kind, const char *name, size_t len, uint32_t *ret)
{
	_cleanup_buf_ struct buf key = { 0 };
	const struct fact *f;

	if (buf_printf(&key, "%s\t", kind) < 0 || buf_add(&key, name, len) < 0)
		return -ENOMEM;
	f = find(p, (const char *)key.data, key.len);
	*ret = f ? f->cond : COND_ALWAYS;
	return f ? 1 : 0;
}

static int fact_package_of(void *ctx, const char *name, size_t len, const char *arch, size_t arch_len, uint32_t *ret)
{
	(void)arch;
	(void)arch_len;
	return MIN(ask(ctx, "package", name, len, ret), 0);
}

/* /bin, /lib, /sbin are links into /usr. */
static int fact_path_of(void *ctx, const char *path, size_t len, uint32_t *ret)
{
	_cleanup_buf_ struct buf usr = { 0 };
	int r = ask(ctx, "path", path, len, ret);

	if (r == 0 && (buf_add(&usr, "/usr", 4) < 0 || buf_add(&usr, path, len) < 0))
		r = -ENOMEM;
	if (r == 0)
		r = ask(ctx, "path", (const char *)usr.data, usr.len, ret);
	return MIN(r, 0);
}

static int fact_user_of(void *ctx, const char *name, size_t len, uint32_t *ret)
{
	return MIN(ask(ctx, "user", name, len, ret), 0);
}

static int fact_group_of(void *ctx, const char *name, size_t len, uint32_t *ret)
{
	return MIN(ask(ctx, "group", name, len, ret), 0);
}

static char *below(const char *dir, const char *path)
{
	char *s;

	return asprintf(&s, "%s%s", dir, path) < 0 ? NULL : s;
}

static int fact_file(void *ctx, const char *path, struct buf *out)
{
	struct project *p = ctx;
	_cleanup_free_ char *full = below(p->root, path);
	char bytes[65536];
	size_t n;
	FILE *f;

	if (!full || !(f = fopen(full, "r")))
		return -errno;
	while ((n = fread(bytes, 1, sizeof(bytes), f)))
		if (buf_add(out, bytes, n) < 0)
			die("no memory", path);
	fclose(f);
	return 0;
}

static int fact_link(void *ctx, const char *path, struct buf *out)
{
	struct project *p = ctx;
	_cleanup_free_ char *full = below(p->root, path);
	char target[4096];
	ssize_t n;

	if (!full || (n = readlink(full, target, sizeof(target))) < 0)
		return -errno;
	return buf_add(out, target, (size_t)n);
}

/* --- the files ------------------------------------------------------------------- */

static bool is_selected(const void *ctx, uint16_t comp)
{
	return *(const uint32_t *)ctx >> comp & 1;
}

static FILE *create(const char *dir, const char *selection, const char *path)
{
	char full[4096];
	FILE *f;

	snprintf(full, sizeof(full), "%s/%s%s", dir, selection, path);
	for (char *slash = full; (slash = strchr(slash + 1, '/'));) {
		*slash = '\0';
		mkdir(full, 0755);
		*slash = '/';
	}
	f = fopen(full, "a");
	if (!f)
		die("cannot write", full);
	return f;
}

static void write_links(struct project *p, const char *path, const struct buf *text, const struct merge_facts *facts)
{
	struct alternatives_links l = { 0 };
	struct ply_err err = { 0 };

	if (alternatives_links(path, text->data, text->len, facts, &l, &err) < 0)
		die(path, err.msg);
	for (size_t s = 0; s < p->nselections; s++) {
		FILE *f = create(p->out, p->selections[s], ".links");

		for (size_t i = 0; i < l.n; i++)
			if (conds_hold(p->conds, l.v[i].cond, is_selected, &p->selected[s]))
				fprintf(f, "%s\t%s\t%s\n", l.v[i].path, l.v[i].target, l.v[i].slave ? l.v[i].slave : "");
		fclose(f);
	}
	alternatives_links_done(&l);
}

static void project_file(struct project *p, const struct merge_driver *d, const char *path)
{
	const struct merge_facts facts = { p, p->conds, fact_package_of, fact_path_of, fact_user_of, fact_group_of,
					   fact_file, fact_link };
	_cleanup_free_ struct piece *v = NULL;
	_cleanup_buf_ struct buf text = { 0 };
	struct records r = { 0 };
	struct ply_err err = { 0 };
	bool whole = false;

	if (fact_file(p, path, &text) < 0 || merge_split(d, path, text.data, text.len, &facts, &r, &whole, &err) < 0 ||
	    !(v = calloc(r.n + 1, sizeof(*v))))
		die(path, err.msg);
	printf("%s %s %zu records%s%s\n", d->name, path, r.n, whole ? ", whole: " : "", whole ? err.msg : "");
	for (size_t s = 0; s < p->nselections; s++) {
		_cleanup_buf_ struct buf out = { 0 };
		FILE *f;
		size_t n = 0;

		for (size_t i = 0; i < r.n; i++)
			if (conds_hold(p->conds, r.v[i].cond, is_selected, &p->selected[s]))
				v[n++] = (struct piece){ r.bytes.data + r.v[i].off, r.v[i].len, r.v[i].flags };
		if (merge_render(d, v, n, &out, &err) < 0)
			die(path, err.msg);
		/* nothing of it is selected: no file */
		if (!n && text.len)
			continue;
		f = create(p->out, p->selections[s], path);
		fwrite(out.data, 1, out.len, f);
		if (fclose(f))
			die("cannot write", path);
	}
	if (d == &merge_alternatives && !whole)
		write_links(p, path, &text, &facts);
	records_done(&r);
}

/* All files of the folders in which drivers have files. */
static void project_folder(struct project *p, const char *folder)
{
	_cleanup_free_ char *full = below(p->root, folder);
	struct dirent **v;
	int n = full ? scandir(full, &v, NULL, alphasort) : -1;

	for (int i = 0; i < n; i++) {
		char path[4096];
		const struct merge_driver *d;

		snprintf(path, sizeof(path), "%s/%s", folder, v[i]->d_name);
		d = v[i]->d_type == DT_REG ? merge_driver_for(path) : NULL;
		if (d)
			project_file(p, d, path);
		free(v[i]);
	}
	if (n >= 0)
		free(v);
}

static void read_selections(struct project *p, char *text)
{
	char *save = NULL;

	for (char *word = strtok_r(text, " ", &save); word; word = strtok_r(NULL, " ", &save)) {
		char *name = strdup(word), *inner = NULL;

		if (p->nselections == ARRAY_SIZE(p->selections) || !name)
			die("too many selections", word);
		p->selections[p->nselections] = name;
		p->selected[p->nselections] = 1;
		for (char *c = strtok_r(word, ",", &inner); c; c = strtok_r(NULL, ",", &inner))
			p->selected[p->nselections] |= 1u << comp_of(p, c);
		p->nselections++;
	}
}

int merge_project(const char *root, const char *facts, const char *out, const char *selections)
{
	static const char *const folders[] = { "/etc", "/var/lib", "/var/lib/dpkg", "/var/lib/dpkg/triggers",
					       "/var/lib/dpkg/alternatives", "/var/lib/apt", "/var/lib/ucf",
					       "/var/cache/debconf" };
	struct project p = { .root = root, .out = out, .conds = conds_new() };
	char *words = strdup(selections);

	if (!p.conds || !words)
		die("no memory", "");
	read_facts(&p, facts);
	read_selections(&p, words);
	for (size_t i = 0; i < ARRAY_SIZE(folders); i++)
		project_folder(&p, folders[i]);
	for (size_t i = 0; i < p.n; i++)
		free(p.v[i].key);
	for (size_t i = 0; i < p.ncomps; i++)
		free(p.comps[i]);
	for (size_t i = 0; i < p.nselections; i++)
		free(p.selections[i]);
	free(p.v);
	free(words);
	map_done(&p.map);
	conds_free(p.conds);
	return 0;
}
