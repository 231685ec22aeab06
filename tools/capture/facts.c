/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Facts are words (a path, a user's name, an alternative) with the components that a source
 * names for them: one table of words for all kinds, the kind is part of the key.
 *
 * Maintainer scripts are searched for literal paths, not interpreted: what a script builds from
 * variables is not found, and other rules have to. Measured on LAMP: five paths need them.
 *
 * Immutable after facts_new().
 */
#include "capture/facts.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/inroot.h"
#include "base/map.h"
#include "base/util.h"
#include "capture/idnames.h"
#include "codec/codec.h"

#define TEXT_MAX  ((size_t)4 << 20)
#define ID_FIRST  100u             /* below: given by Debian, the same on every machine */
#define ID_END    1000u            /* from here on: people */

enum kind { WORD_SCRIPT = 's', WORD_UCF = 'u', WORD_ALTERNATIVE = 'a', WORD_USER = 'n', WORD_GROUP = 'g', WORD_PACKAGE = 'p' };

struct said {
	uint16_t comp;
	uint32_t next;             /* row + 1; 0: the last */
};

struct word {
	uint32_t text, len;        /* in facts.text; the kind is its first byte */
	uint32_t said;             /* row + 1 */
};

struct facts {
	const struct scan *scan;
	const struct pkgdb *db;
	const struct closure *closure;
	struct buf text;
	struct word *words;
	size_t nwords, words_cap;
	struct said *said;
	size_t nsaid, said_cap;
	struct map by_text;
	struct idnames users, groups;
	struct ply_err *err;       /* while facts are gathered */
};

/* --- words ------------------------------------------------------------------- */

static struct word *find_word(const struct facts *f, enum kind kind, const char *text, size_t len)
{
	uint64_t h = xxh3(text, len, (uint64_t)kind);

	for (size_t i = map_first(&f->by_text, h); i != MAP_END; i = map_next(&f->by_text, h, i)) {
		struct word *w = &f->words[f->by_text.slots[i].value];
		const char *t = (const char *)f->text.data + w->text;

		if (w->len == len && *t == (char)kind && !memcmp(t + 1, text, len))
			return w;
	}
	return NULL;
}

static int say(struct facts *f, enum kind kind, const char *text, size_t len, uint16_t comp)
{
	struct word *w = find_word(f, kind, text, len);
	char k = (char)kind;

	if (!w) {
		if (f->text.len > UINT32_MAX - len - 1 ||
		    array_grow(&f->words, &f->words_cap, f->nwords + 1, sizeof(*f->words)) < 0 ||
		    map_add(&f->by_text, xxh3(text, len, (uint64_t)kind), f->nwords) < 0)
			return -ENOMEM;
		w = &f->words[f->nwords];
		*w = (struct word){ (uint32_t)f->text.len, (uint32_t)len, 0 };
		if (buf_add(&f->text, &k, 1) < 0 || buf_add(&f->text, text, len) < 0)
			return -ENOMEM;
		f->nwords++;
	}
	for (uint32_t s = w->said; s; s = f->said[s - 1].next)
		if (f->said[s - 1].comp == comp)
			return 0;
	if (array_grow(&f->said, &f->said_cap, f->nsaid + 1, sizeof(*f->said)) < 0)
		return -ENOMEM;
	f->said[f->nsaid++] = (struct said){ comp, w->said };
	w->said = (uint32_t)f->nsaid;
	return 0;
}

uint16_t facts_common(const struct facts *f, const uint16_t *comps, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (comps[i] == 0)
			return 0;
	for (size_t i = 0; i < n; i++) {
		bool all = true;

		for (size_t k = 0; k < n && all; k++)
			all = comps[k] == comps[i] || closure_requires(f->closure, comps[k], comps[i]);
		if (all)
			return comps[i];
	}
	return FACT_NONE;
}

static uint16_t common_of_word(const struct facts *f, const struct word *w)
{
	uint16_t comps[64];
	size_t n = 0;

	for (uint32_t s = w ? w->said : 0; s; s = f->said[s - 1].next) {
		if (n == ARRAY_SIZE(comps))
			return FACT_NONE;
		comps[n++] = f->said[s - 1].comp;
	}
	return n ? facts_common(f, comps, n) : FACT_NONE;
}

/* --- reading -------------------------------------------------------------------- */

int facts_read(const struct scan *scan, uint32_t node, size_t max, struct buf *out)
{
	int dir = scan_open_dir(scan, scan->nodes[node].parent), r;

	if (dir < 0)
		return dir;
	r = inroot_read_at(dir, scan_name(scan, node), max, out);
	close(dir);
	return r;
}

/* A file that another may have taken away meanwhile, or that is not read by this user, says
 * nothing; 1: it was read. */
static int read_if_there(struct facts *f, uint32_t node, struct buf *out)
{
	int r;

	out->len = 0;
	if (node == SCAN_NONE || !S_ISREG(f->scan->nodes[node].mode))
		return 0;
	r = facts_read(f->scan, node, TEXT_MAX, out);
	if (r == -ENOMEM)
		return r;
	return r == 0;
}

static uint32_t lookup(const struct facts *f, const char *path)
{
	return scan_lookup(f->scan, path, strlen(path));
}

/* For each regular file in directory @path. */
static int each_file(struct facts *f, const char *path, int (*fn)(struct facts *, uint32_t, char *, size_t))
{
	_cleanup_buf_ struct buf text = { 0 };
	uint32_t dir = lookup(f, path);
	const struct scan_node *d;
	int r = 0;

	if (dir == SCAN_NONE || !S_ISDIR(f->scan->nodes[dir].mode))
		return 0;
	d = &f->scan->nodes[dir];
	for (uint32_t i = d->first_child; r >= 0 && i < d->first_child + d->nchildren; i++) {
		r = read_if_there(f, i, &text);
		if (r > 0)
			r = fn(f, i, (char *)text.data, text.len);
	}
	return r < 0 ? r : 0;
}

/* --- alternatives ---------------------------------------------------------------- */

/*
 * Its file: mode, link, pairs of slave name and link, an empty line; for each choice its
 * path, priority, and a path for each slave, which may be empty; an empty line. A choice that the
 * system has makes the name its own, so paths of all choices are noted.
 */
static int read_alternative(struct facts *f, uint32_t node, char *text, size_t len)
{
	const char *slaves[64];
	char *rest = text, *line;
	size_t nslaves = 0;
	int r = 0;

	(void)len;
	strsep(&rest, "\n");
	strsep(&rest, "\n");
	while ((line = strsep(&rest, "\n")) && *line) {
		if (nslaves < ARRAY_SIZE(slaves))
			slaves[nslaves++] = line;
		strsep(&rest, "\n");
	}
	while (r == 0 && (line = strsep(&rest, "\n")) && *line == '/') {
		uint32_t at = lookup(f, line);
		const char *name = scan_name(f->scan, node);

		strsep(&rest, "\n");
		if (at != SCAN_NONE && f->scan->nodes[at].comp < f->closure->ncomps)
			r = say(f, WORD_ALTERNATIVE, name, strlen(name), f->scan->nodes[at].comp);
		for (size_t i = 0; r == 0 && i < nslaves && (line = strsep(&rest, "\n")); i++) {
			at = *line == '/' ? lookup(f, line) : SCAN_NONE;
			if (at != SCAN_NONE && f->scan->nodes[at].comp < f->closure->ncomps)
				r = say(f, WORD_ALTERNATIVE, slaves[i], strlen(slaves[i]), f->scan->nodes[at].comp);
		}
	}
	return r;
}

uint16_t facts_alternative(const struct facts *f, const char *name, size_t len)
{
	const struct word *w = find_word(f, WORD_ALTERNATIVE, name, len);
	uint16_t lowest = FACT_NONE;

	for (uint32_t s = w ? w->said : 0; s; s = f->said[s - 1].next)
		lowest = MIN(lowest, f->said[s - 1].comp);
	return lowest;
}

/* --- packages ----------------------------------------------------------------------- */

static uint16_t comp_of(const struct facts *f, uint32_t pkg)
{
	return (uint16_t)f->closure->pkgs[pkg].comp;
}

static int read_packages(struct facts *f)
{
	int r = 0;

	for (uint32_t p = 0; f->db && r == 0 && p < pkgdb_count(f->db); p++) {
		const struct pkg *pkg = pkgdb_get(f->db, p);

		if (!pkg->installed)
			continue;
		r = say(f, WORD_PACKAGE, pkg->name, strlen(pkg->name), comp_of(f, p));
		if (r == 0 && strcmp(pkg->source, pkg->name))
			r = say(f, WORD_PACKAGE, pkg->source, strlen(pkg->source), comp_of(f, p));
	}
	for (uint16_t c = 1; r == 0 && c < f->closure->ncomps; c++)
		r = say(f, WORD_PACKAGE, f->closure->comps[c].name, strlen(f->closure->comps[c].name), c);
	return r;
}

uint16_t facts_package(const struct facts *f, const char *name, size_t len)
{
	return common_of_word(f, find_word(f, WORD_PACKAGE, name, len));
}

/* "PACKAGE PATH" on each line. */
static int read_ucf(struct facts *f)
{
	_cleanup_buf_ struct buf text = { 0 };
	int r = read_if_there(f, lookup(f, "var/lib/ucf/registry"), &text);
	char *rest = (char *)text.data;

	for (char *line; r > 0 && f->db && (line = strsep(&rest, "\n"));) {
		char *path = strpbrk(line, " \t");
		uint32_t pkg;

		if (!path)
			continue;
		*path++ = '\0';
		path += strspn(path, " \t/");
		pkg = pkgdb_find(f->db, line);
		if (pkg != PKG_NONE && say(f, WORD_UCF, path, strlen(path), comp_of(f, pkg)) < 0)
			return -ENOMEM;
	}
	return r < 0 ? r : 0;
}

uint16_t facts_ucf(const struct facts *f, const char *path, size_t len)
{
	return common_of_word(f, find_word(f, WORD_UCF, path, len));
}

/* --- maintainer scripts -------------------------------------------------------------- */

static bool in_path(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       (c && strchr("/._+@%:~-", c) != NULL);
}

const char *facts_next_path(const char *text, const char *end, size_t *ret_len)
{
	for (const char *p = text; p < end; p++) {
		const char *start = p;

		if (*p != '/')
			continue;
		while (p < end && in_path(*p))
			p++;
		*ret_len = (size_t)(p - start);
		while (*ret_len > 1 && strchr("/.:", start[*ret_len - 1]))
			(*ret_len)--;
		if (*ret_len > 1)
			return start;
	}
	*ret_len = 0;
	return end;
}

static bool is_word(const char *text, size_t len, const char *word, size_t n, const char *at)
{
	const char *before = at > text ? at - 1 : NULL, *after = at + n < text + len ? at + n : NULL;

	(void)word;
	return (!before || !(in_path(*before) && *before != '/')) && (!after || !in_path(*after) || *after == ':' ||
								      *after == '.');
}

static bool has_word(const char *text, size_t len, const char *word)
{
	size_t n = strlen(word);

	for (const char *p = text; (p = memmem(p, len - (size_t)(p - text), word, n)); p++)
		if (is_word(text, len, word, n, p))
			return true;
	return false;
}

struct script {
	struct facts *f;
	uint16_t comp;
};

static bool is_system_id(uint32_t id)
{
	return id >= ID_FIRST && id < ID_END;
}

/* The users or, @kind, groups @t that @text names. */
static int say_users(struct facts *f, enum kind kind, const struct idnames *t, const char *text, size_t len,
		     uint16_t comp)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < t->n; i++)
		if (is_system_id(t->v[i].id) && has_word(text, len, t->v[i].name))
			r = say(f, kind, t->v[i].name, strlen(t->v[i].name), comp);
	return r;
}

static int read_script(void *ctx, const char *name, const char *text, size_t len)
{
	static const char *const makers[] = { "adduser", "addgroup", "useradd", "groupadd", "systemd-sysusers" };
	struct script *s = ctx;
	const char *end = text + len;
	bool makes_users = false;
	size_t n;
	int r = 0;

	for (const char *p = text; r == 0 && (p = facts_next_path(p, end, &n)) < end; p += n)
		r = say(s->f, WORD_SCRIPT, p + 1, n - 1, s->comp);
	for (size_t i = 0; i < ARRAY_SIZE(makers); i++)
		makes_users |= has_word(text, len, makers[i]);
	/* what goes away with a package was not made by it there */
	if (r < 0 || !makes_users || strstr(name, ".prerm") || strstr(name, ".postrm"))
		return r;
	r = say_users(s->f, WORD_USER, &s->f->users, text, len, s->comp);
	return r < 0 ? r : say_users(s->f, WORD_GROUP, &s->f->groups, text, len, s->comp);
}

static int read_scripts(struct facts *f)
{
	int r = 0;

	for (uint32_t p = 0; f->db && r >= 0 && p < pkgdb_count(f->db); p++) {
		struct script s = { f, comp_of(f, p) };

		r = pkgdb_scripts(f->db, p, read_script, &s, f->err);
	}
	return r < 0 ? r : 0;
}

uint16_t facts_script(const struct facts *f, const char *path, size_t len)
{
	return common_of_word(f, find_word(f, WORD_SCRIPT, path, len));
}

/* --- users ------------------------------------------------------------------------------- */

/* "u NAME ...", which makes a group of that name too, "g NAME ..." */
static int read_sysusers(struct facts *f, uint32_t node, char *text, size_t len)
{
	uint16_t comp = f->scan->nodes[node].comp;

	(void)len;
	for (char *rest = text, *line; comp < f->closure->ncomps && (line = strsep(&rest, "\n"));) {
		char *name;
		size_t n;

		if ((line[0] != 'u' && line[0] != 'g') || strcspn(line, " \t") > 2)
			continue;
		name = line + strcspn(line, " \t");
		name += strspn(name, " \t\"");
		n = strcspn(name, " \t\"");
		if (n && ((line[0] == 'u' && say(f, WORD_USER, name, n, comp) < 0) ||
			  say(f, WORD_GROUP, name, n, comp) < 0))
			return -ENOMEM;
	}
	return 0;
}

/* A user that owns what lies in a component by path, and whom nobody else brings, is that
 * component's. */
static int read_owners(struct facts *f, const uint8_t *by_path)
{
	size_t before = f->nwords;

	for (uint32_t i = 0; i < f->scan->n; i++) {
		const struct scan_node *n = &f->scan->nodes[i];
		const char *names[2];

		if (!(by_path[i / 8] >> i % 8 & 1) || n->comp >= f->closure->ncomps || n->comp == 0)
			continue;
		names[0] = is_system_id(n->uid) ? idnames_find(&f->users, n->uid) : NULL;
		names[1] = is_system_id(n->gid) ? idnames_find(&f->groups, n->gid) : NULL;
		for (int k = 0; k < 2; k++) {
			enum kind kind = k ? WORD_GROUP : WORD_USER;
			const struct word *w = names[k] ? find_word(f, kind, names[k], strlen(names[k])) : NULL;

			if (names[k] && (!w || (size_t)(w - f->words) >= before) &&
			    say(f, kind, names[k], strlen(names[k]), n->comp) < 0)
				return -ENOMEM;
		}
	}
	return 0;
}

uint16_t facts_user_named(const struct facts *f, const char *name, size_t len)
{
	for (size_t i = 0; i < f->users.n; i++) {
		const struct idname *u = &f->users.v[i];

		if (!is_system_id(u->id) && strlen(u->name) == len && !memcmp(u->name, name, len))
			return 0;
	}
	return common_of_word(f, find_word(f, WORD_USER, name, len));
}

static uint16_t of_id(const struct facts *f, enum kind kind, const struct idnames *t, uint32_t id)
{
	const char *name = is_system_id(id) ? idnames_find(t, id) : NULL;
	uint16_t comp = name ? common_of_word(f, find_word(f, kind, name, strlen(name))) : FACT_NONE;

	return comp == FACT_NONE ? 0 : comp;
}

uint16_t facts_user(const struct facts *f, uint32_t uid)
{
	return of_id(f, WORD_USER, &f->users, uid);
}

uint16_t facts_group(const struct facts *f, uint32_t gid)
{
	return of_id(f, WORD_GROUP, &f->groups, gid);
}

/* --- all --------------------------------------------------------------------------------- */

static int gather(struct facts *f, const uint8_t *by_path)
{
	int r = idnames_read(&f->users, f->scan->root, "etc/passwd");

	if (r == 0)
		r = idnames_read(&f->groups, f->scan->root, "etc/group");
	if (r == 0)
		r = read_packages(f);
	if (r == 0)
		r = each_file(f, "var/lib/dpkg/alternatives", read_alternative);
	if (r == 0)
		r = read_ucf(f);
	if (r == 0)
		r = each_file(f, "usr/lib/sysusers.d", read_sysusers);
	if (r == 0)
		r = each_file(f, "etc/sysusers.d", read_sysusers);
	if (r == 0)
		r = read_scripts(f);
	if (r == 0)
		r = read_owners(f, by_path);
	return r;
}

int facts_new(const struct scan *scan, const struct pkgdb *db, const struct closure *closure,
	      const uint8_t *by_path, struct facts **ret, struct ply_err *err)
{
	struct facts *f = calloc(1, sizeof(*f));
	struct ply_err why = { 0 };
	int r;

	if (!f)
		return ply_fail_nomem(err);
	*f = (struct facts){ .scan = scan, .db = db, .closure = closure, .err = &why };
	r = gather(f, by_path);
	f->err = NULL;
	if (r < 0) {
		facts_free(f);
		if (why.reason == PLY_R_NONE)
			return r == -ENOMEM ? ply_fail_nomem(err) : ply_fail_sys(err, r, "cannot read the machine's users");
		if (err)
			*err = why;
		return r;
	}
	*ret = f;
	return 0;
}

void facts_renumber(struct facts *f, const uint32_t *place)
{
	for (size_t i = 0; i < f->nsaid; i++)
		f->said[i].comp = (uint16_t)place[f->said[i].comp];
}

struct facts *facts_free(struct facts *f)
{
	if (!f)
		return NULL;
	buf_done(&f->text);
	free(f->words);
	free(f->said);
	map_done(&f->by_text);
	idnames_done(&f->users);
	idnames_done(&f->groups);
	free(f);
	return NULL;
}
