/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Made-up shared files, and what each selection has to see: see merge_gen.h. */
#include "unit/merge_gen.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"

uint64_t gen_random(struct gen *g, uint64_t below)
{
	uint64_t z = g->state += 0x9e3779b97f4a7c15u;      /* splitmix64 */

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return (z ^ z >> 31) % below;
}

static bool chance(struct gen *g, unsigned percent)
{
	return gen_random(g, 100) < percent;
}

unsigned gen_mask(const char *name, size_t len)
{
	const char *p = len ? memchr(name, '~', len) : NULL;
	unsigned mask = 0;

	if (len && name[0] == '#')
		return name[len - 1] >= '1' && name[len - 1] <= '4' ? 1u << (name[len - 1] - '1') : 0;
	if (!p)
		return 0;
	while (++p < name + len && *p >= '0' && *p <= '4') {
		if (*p == '0')
			return 0;
		mask |= 1u << (*p - '1');
	}
	return mask;
}

static bool shows(unsigned mask, unsigned selection)
{
	return !mask || mask & selection;
}

static void add(struct buf *b, const char *text)
{
	if (buf_add(b, text, strlen(text)) < 0)
		abort();
}

/* To all selections that see it. */
static void put(struct gen *g, unsigned mask, const char *text)
{
	for (unsigned s = 0; s < GEN_SELECTIONS; s++)
		if (shows(mask, s))
			add(&g->want[s], text);
}

struct name {
	char text[128];
	unsigned mask;
};

static struct name tagged(struct gen *g, const char *prefix, const char *suffix)
{
	static const char *const tags[] = { "", "", "", "~1", "~2", "~3", "~4", "~13", "~24", "~0", "~123", "~1234" };
	struct name n;

	snprintf(n.text, sizeof(n.text), "%s%c%c%u%s%s", prefix, (int)('a' + gen_random(g, 26)),
		 (int)('a' + gen_random(g, 26)), (unsigned)gen_random(g, 50), tags[gen_random(g, ARRAY_SIZE(tags))], suffix);
	n.mask = gen_mask(n.text, strlen(n.text));
	return n;
}

static unsigned count(struct gen *g)
{
	return chance(g, 5) ? 0 : (unsigned)(1 + gen_random(g, chance(g, 5) ? 200 : 12));
}

/* The last line of some files has no end. */
static void cut_end(struct gen *g)
{
	const struct buf *all = &g->want[GEN_ALL];

	/* only where the last line shows everywhere can this be said of all selections at once */
	if (!all->len || all->data[all->len - 1] != '\n' || !chance(g, 20))
		return;
	put(g, 0, "# end");
}

/* --- lines by user and group ------------------------------------------------------- */

static const char *const odd_lines[] = { "\n", "# a comment: with a colon~1\n", "+nis~1::::::\n", "-@net:x\n", "+\n", " \t\n" };

static void passwd_like(struct gen *g, const char *rest, bool numbers)
{
	char line[512];

	for (unsigned n = count(g); n; n--) {
		struct name user = tagged(g, chance(g, 5) ? " " : "", "");

		if (numbers && chance(g, 20)) {
			snprintf(user.text, sizeof(user.text), "10%02u", (unsigned)gen_random(g, 100));
			user.mask = gen_mask((snprintf(line, sizeof(line), "#%s", user.text), line), strlen(user.text) + 1);
		}
		if (chance(g, 10)) {
			put(g, 0, odd_lines[gen_random(g, ARRAY_SIZE(odd_lines))]);
			continue;
		}
		snprintf(line, sizeof(line), "%s:%s\n", user.text, chance(g, 5) ? "" : rest);
		put(g, user.mask, line);
	}
	cut_end(g);
}

static void gen_passwd(struct gen *g)
{
	strcpy(g->path, chance(g, 50) ? "/etc/passwd" : "/etc/passwd-");
	passwd_like(g, "x:100:100:A man~2,,:/home/a:/bin/sh", false);
}

static void gen_shadow(struct gen *g)
{
	static const char *const paths[] = { "/etc/shadow", "/etc/shadow-", "/etc/subuid", "/etc/subgid-" };
	size_t i = gen_random(g, ARRAY_SIZE(paths));

	strcpy(g->path, paths[i]);
	passwd_like(g, i < 2 ? "$6$a$b~3:19000:0:99999:7:::" : "100000:65536", i >= 2);
}

/* A list as each selection sees it. */
static void members(struct gen *g, unsigned group)
{
	struct name v[8];
	unsigned n = chance(g, 40) ? 0 : (unsigned)gen_random(g, ARRAY_SIZE(v));

	for (unsigned i = 0; i < n; i++) {
		v[i] = tagged(g, chance(g, 5) ? " " : "", "");
		if (chance(g, 10))
			v[i] = (struct name){ "", 0 };
	}
	for (unsigned s = 0; s < GEN_SELECTIONS; s++) {
		bool first = true;

		for (unsigned i = 0; shows(group, s) && i < n; i++) {
			if (!shows(v[i].mask, s))
				continue;
			if (!first)
				add(&g->want[s], ",");
			add(&g->want[s], v[i].text);
			first = false;
		}
	}
}

static void gen_group(struct gen *g)
{
	static const char *const paths[] = { "/etc/group", "/etc/group-", "/etc/gshadow", "/etc/gshadow-" };
	size_t which = gen_random(g, ARRAY_SIZE(paths));
	char line[512];

	strcpy(g->path, paths[which]);
	for (unsigned n = count(g); n; n--) {
		struct name group = tagged(g, chance(g, 5) ? "\t" : "", "");

		if (chance(g, 10)) {
			put(g, 0, odd_lines[gen_random(g, ARRAY_SIZE(odd_lines))]);
			continue;
		}
		if (chance(g, 5)) {
			snprintf(line, sizeof(line), "%s:x%s\n", group.text, chance(g, 50) ? ":12" : "");
			put(g, group.mask, which < 2 || !strstr(line, ":12") ? line : (snprintf(line, sizeof(line), "%s:x\n", group.text), line));
			continue;
		}
		snprintf(line, sizeof(line), which < 2 ? "%s:x:12:" : "%s:!:", group.text);
		put(g, group.mask, line);
		members(g, group.mask);
		if (which >= 2) {
			put(g, group.mask, ":");
			members(g, group.mask);
		}
		put(g, group.mask, "\n");
	}
	cut_end(g);
}

/* --- stanzas ------------------------------------------------------------------- */

static void blank_lines(struct gen *g, unsigned mask, bool last)
{
	put(g, mask, last && !mask && chance(g, 30) ? "" : chance(g, 5) ? "\n\n\n" : "\n");
}

static void packages(struct gen *g)
{
	static const char *const fields[] = { "Status: install ok installed\n", "Conffiles:\n /etc/a 12\n /etc/b~2 34\n",
					      "Description: one\n two\n .\n three: four\n", "Version: 1:2-3\n", "X:\n", "Depends: a~1, b\n" };
	char line[512];

	if (chance(g, 10))
		put(g, 0, "\n");
	for (unsigned n = count(g); n; n--) {
		struct name p = tagged(g, "", "");
		unsigned at = (unsigned)gen_random(g, 4);

		for (unsigned i = 0; i < 4; i++) {
			if (i == at) {
				snprintf(line, sizeof(line), "%s%s\n", chance(g, 80) ? "Package: " : "package:", p.text);
				put(g, p.mask, line);
				if (chance(g, 80))
					put(g, p.mask, "Architecture: amd64\n");
			} else {
				put(g, p.mask, fields[gen_random(g, ARRAY_SIZE(fields))]);
			}
		}
		blank_lines(g, p.mask, n == 1);
	}
}

static void gen_status(struct gen *g)
{
	strcpy(g->path, chance(g, 50) ? "/var/lib/dpkg/status" : "/var/lib/dpkg/status-old");
	packages(g);
}

static void gen_extended(struct gen *g)
{
	strcpy(g->path, "/var/lib/apt/extended_states");
	packages(g);
}

/* "Owners" of packages: any of them. */
static unsigned owners(struct gen *g, char *line, size_t cap)
{
	unsigned mask = 0, n = (unsigned)gen_random(g, 4);
	bool os = !n;

	snprintf(line, cap, "Owners: ");
	for (unsigned i = 0; i < n; i++) {
		struct name p = tagged(g, "", chance(g, 30) ? ":amd64" : "");

		os |= !p.mask;
		mask |= p.mask;
		snprintf(line + strlen(line), cap - strlen(line), "%s%s", i ? ", " : "", p.text);
	}
	strcat(line, "\n");
	return os ? 0 : mask;
}

static void gen_debconf(struct gen *g)
{
	char line[1024];

	strcpy(g->path, chance(g, 50) ? "/var/cache/debconf/config.dat" : "/var/cache/debconf/passwords.dat-old");
	for (unsigned n = count(g); n; n--) {
		bool owned = chance(g, 90);
		unsigned mask = owners(g, line, sizeof(line));

		if (!owned)
			mask = 0;
		put(g, mask, "Name: a~3/b\nTemplate: c/d\n");
		if (chance(g, 30))
			put(g, mask, "Variables:\n x = y~1\n");
		if (owned)
			put(g, mask, line);
		blank_lines(g, mask, n == 1);
	}
}

#define QUESTIONS 12

static void gen_templates(struct gen *g)
{
	/* [0] of today, [1] of then: whose the questions are (GEN_SELECTIONS: there is none), and their templates */
	unsigned mask[2][QUESTIONS], template[2][QUESTIONS];
	char line[1024];
	bool old = chance(g, 50);

	strcpy(g->path, old ? "/var/cache/debconf/templates.dat-old" : "/var/cache/debconf/templates.dat");
	for (unsigned t = 0; t < 2; t++)
		for (unsigned q = 0; q < QUESTIONS; q++) {
			bool named = chance(g, 80);
			struct buf *b = &g->files[t * 2 + (chance(g, 30) ? 1 : 0)];

			mask[t][q] = GEN_SELECTIONS;
			template[t][q] = named ? (unsigned)gen_random(g, QUESTIONS) : q;
			if (chance(g, 20))
				continue;
			mask[t][q] = owners(g, line, sizeof(line));
			buf_printf(b, "Name: q%u\n", q);
			if (named)
				buf_printf(b, "Template: q%u\n", template[t][q]);
			add(b, line);
			add(b, "\n");
		}
	for (unsigned n = count(g); n; n--) {
		unsigned name = (unsigned)gen_random(g, QUESTIONS + 2), says[3], m = 0, nsays = (unsigned)gen_random(g, 4);
		bool found = false, os = false;

		for (unsigned i = 0; i < nsays; i++)
			says[i] = (unsigned)gen_random(g, QUESTIONS + 2);
		for (unsigned t = old ? 2 : 1; t-- > 0 && !found;)
			for (unsigned q = 0; q < QUESTIONS; q++) {
				bool mine = template[t][q] == name;

				for (unsigned i = 0; i < nsays; i++)
					mine |= says[i] == q;
				if (!mine || mask[t][q] == GEN_SELECTIONS)
					continue;
				found = true;
				os |= !mask[t][q];
				m |= mask[t][q];
			}
		if (!found || os)
			m = 0;
		snprintf(line, sizeof(line), "Name: q%u\nDescription: ~1\n", name);
		put(g, m, line);
		for (unsigned i = 0; i < nsays; i++) {
			snprintf(line, sizeof(line), "%sq%u%s", i ? ", " : "Owners: ", says[i], i + 1 < nsays ? "" : "\n");
			put(g, m, line);
		}
		blank_lines(g, m, n == 1);
	}
}

/* --- lines of dpkg and others -------------------------------------------------------- */

static void gen_diversions(struct gen *g)
{
	char line[512];

	strcpy(g->path, "/var/lib/dpkg/diversions");
	for (unsigned n = count(g); n; n--) {
		struct name p = tagged(g, "", "");

		if (chance(g, 20))
			p = (struct name){ ":", 0 };
		snprintf(line, sizeof(line), "/bin/a~2\n/bin/a b.distrib~3\n%s\n", p.text);
		put(g, p.mask, line);
	}
}

/* Shows where all three do. */
static void put3(struct gen *g, unsigned a, unsigned b, unsigned c, const char *text)
{
	for (unsigned s = 0; s < GEN_SELECTIONS; s++)
		if (shows(a, s) && shows(b, s) && shows(c, s))
			add(&g->want[s], text);
}

static void gen_statoverride(struct gen *g)
{
	char line[512];

	strcpy(g->path, chance(g, 50) ? "/var/lib/dpkg/statoverride" : "/var/lib/dpkg/statoverride-old");
	for (unsigned n = count(g); n; n--) {
		struct name user = tagged(g, "", ""), group = tagged(g, "", ""), path = tagged(g, "/usr/a b/", "/x");

		if (chance(g, 20)) {
			snprintf(user.text, sizeof(user.text), "#%u", (unsigned)gen_random(g, 200));
			user.mask = gen_mask(user.text, strlen(user.text));
		}
		snprintf(line, sizeof(line), "%s %s %o %s\n", user.text, group.text, (unsigned)gen_random(g, 07777), path.text);
		put3(g, user.mask, group.mask, path.mask, line);
	}
}

static void gen_trigger_file(struct gen *g)
{
	char line[512];

	strcpy(g->path, "/var/lib/dpkg/triggers/File");
	for (unsigned n = count(g); n; n--) {
		struct name p = tagged(g, "/usr/share/a~1 ", "");

		p.mask = gen_mask(strrchr(p.text, ' ') + 1, strlen(strrchr(p.text, ' ') + 1));
		snprintf(line, sizeof(line), "%s%s%s\n", p.text, chance(g, 20) ? ":amd64" : "", chance(g, 50) ? "/noawait" : "");
		put(g, p.mask, line);
	}
}

static void gen_trigger_name(struct gen *g)
{
	char line[512];

	strcpy(g->path, "/var/lib/dpkg/triggers/ldconfig");
	for (unsigned n = count(g); n; n--) {
		struct name p = tagged(g, "", "");

		snprintf(line, sizeof(line), "%s%s%s\n", p.text, chance(g, 20) ? ":amd64" : "", chance(g, 50) ? "/noawait" : "");
		put(g, p.mask, line);
	}
}

static void gen_ucf(struct gen *g)
{
	bool registry = chance(g, 50);
	char line[512];

	strcpy(g->path, registry ? "/var/lib/ucf/registry.3" : "/var/lib/ucf/hashfile");
	for (unsigned n = count(g); n; n--) {
		struct name path = tagged(g, "/etc/x/", ".cnf"), p = tagged(g, "", "");

		if (chance(g, 5)) {
			put(g, 0, chance(g, 50) ? "\n" : "# ~2 /etc\n");
			continue;
		}
		snprintf(line, sizeof(line), "%s %s%s\n", registry ? p.text : "0877786daf8479dd91be0f89f223a102",
			 registry ? "\t " : " ", path.text);
		put(g, path.mask ? path.mask : registry ? p.mask : 0, line);
	}
	cut_end(g);
}

static void gen_pathlines(struct gen *g)
{
	bool certificates = chance(g, 50);
	char line[512];

	strcpy(g->path, certificates ? "/etc/ca-certificates.conf" : chance(g, 50) ? "/etc/shells" : "/var/lib/shells.state");
	for (unsigned n = count(g); n; n--) {
		struct name path = tagged(g, certificates ? "mozilla/" : "/bin/", "");

		if (chance(g, 10)) {
			put(g, 0, chance(g, 50) ? "\n" : "# /bin/x~2\n");
			continue;
		}
		if (!certificates && chance(g, 5)) {
			put(g, 0, "what~2\n");
			continue;
		}
		snprintf(line, sizeof(line), "%s%s%s\n", certificates && chance(g, 30) ? "!" : chance(g, 5) ? " " : "",
			 path.text, !certificates && chance(g, 10) ? " # ~4" : "");
		put(g, path.mask, line);
	}
	cut_end(g);
}

/* --- alternatives ------------------------------------------------------------------- */

static int compare_lines(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static void sort_lines(struct buf *b)
{
	char *v[64], *save = NULL, *text;
	size_t n = 0;

	if (buf_add(b, "", 1) < 0 || !(text = strdup((const char *)b->data)))
		abort();
	for (char *line = strtok_r(text, "\n", &save); line && n < ARRAY_SIZE(v); line = strtok_r(NULL, "\n", &save))
		v[n++] = line;
	qsort(v, n, sizeof(*v), compare_lines);
	b->len = 0;
	for (size_t i = 0; i < n; i++)
		buf_printf(b, "%s\n", v[i]);
	free(text);
}

struct made_choice {
	struct name path;
	int priority;
	char slaves[3][64];
};

/* What update-alternatives would have: of one selection. */
static void want_alternative(struct gen *g, unsigned s, bool manual, const struct made_choice *v, unsigned n,
			     unsigned nslaves, int chosen, const char *elsewhere)
{
	unsigned elsewhere_mask = gen_mask(elsewhere, strlen(elsewhere));
	const struct made_choice *best = NULL;
	struct buf *b = &g->want[s];
	bool shown[3] = { 0 }, any = false, still;

	for (unsigned i = 0; i < n; i++)
		if (shows(v[i].path.mask, s)) {
			any = true;
			if (!best || v[i].priority > best->priority)
				best = &v[i];
		}
	if (!any)
		return;
	for (unsigned k = 0; k < nslaves; k++) {
		bool nobody = true;

		for (unsigned i = 0; i < n; i++)
			if (*v[i].slaves[k]) {
				nobody = false;
				shown[k] |= shows(v[i].path.mask, s);
			}
		shown[k] |= nobody;
	}
	still = chosen >= 0 ? shows(v[chosen].path.mask, s) : *elsewhere ? shows(elsewhere_mask, s) : true;
	buf_printf(b, "%s\n/usr/bin/thing\n", manual && still ? "manual" : "auto");
	for (unsigned k = 0; k < nslaves; k++)
		if (shown[k])
			buf_printf(b, "slave%u~4\n/usr/share/slave%u\n", k, k);
	add(b, "\n");
	for (unsigned i = 0; i < n; i++) {
		if (!shows(v[i].path.mask, s))
			continue;
		buf_printf(b, "%s\n%d\n", v[i].path.text, v[i].priority);
		for (unsigned k = 0; k < nslaves; k++)
			if (shown[k])
				buf_printf(b, "%s\n", v[i].slaves[k]);
	}
	add(b, "\n");

	b = &g->links[s];
	add(b, "/usr/bin/thing /etc/alternatives/thing\n");
	if (*elsewhere && chosen < 0 && shows(elsewhere_mask, s)) {
		buf_printf(b, "/etc/alternatives/thing %s\n", elsewhere);
		sort_lines(b);
		return;
	}
	if (chosen >= 0 && shows(v[chosen].path.mask, s))
		best = &v[chosen];
	buf_printf(b, "/etc/alternatives/thing %s\n", best->path.text);
	for (unsigned k = 0; k < nslaves; k++)
		if (*best->slaves[k] && shows(gen_mask(best->slaves[k], strlen(best->slaves[k])), s))
			buf_printf(b, "/etc/alternatives/slave%u~4 %s\n/usr/share/slave%u /etc/alternatives/slave%u~4\n", k,
				   best->slaves[k], k, k);
	sort_lines(b);
}

static void gen_alternatives(struct gen *g)
{
	struct made_choice v[6];
	unsigned n = (unsigned)(1 + gen_random(g, ARRAY_SIZE(v))), nslaves = (unsigned)gen_random(g, 4);
	bool manual = chance(g, 50);
	struct name elsewhere = { "", 0 };
	int chosen = -1;
	char prefix[32];

	strcpy(g->path, "/var/lib/dpkg/alternatives/thing");
	for (unsigned i = 0; i < n; i++) {
		snprintf(prefix, sizeof(prefix), "/usr/bin/%u", i);
		v[i].path = tagged(g, prefix, "");
		v[i].priority = (int)gen_random(g, 5) - 1;
		for (unsigned k = 0; k < 3; k++) {
			v[i].slaves[k][0] = '\0';
			if (chance(g, 60))
				snprintf(v[i].slaves[k], sizeof(v[i].slaves[k]), "/usr/man/%u.%u~3", i, k);
		}
	}
	if (chance(g, 80))
		chosen = (int)gen_random(g, n);
	else if (chance(g, 70))
		elsewhere = tagged(g, "/opt/", "");
	add(&g->link, chosen >= 0 ? v[chosen].path.text : elsewhere.text);
	for (unsigned s = 0; s < GEN_SELECTIONS; s++)
		want_alternative(g, s, manual, v, n, nslaves, chosen, elsewhere.text);
}

/* --- ld.so.cache ------------------------------------------------------------------- */

static uint32_t get32(const uint8_t *p)
{
	return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static void set32(uint8_t *p, uint32_t v)
{
	for (unsigned i = 0; i < 4; i++)
		p[i] = (uint8_t)(v >> 8 * i);
}

static void add32(struct buf *b, uint32_t v)
{
	uint8_t p[4];

	set32(p, v);
	if (buf_add(b, p, 4) < 0)
		abort();
}

/* The place of @s in the strings: as an end of one that is there, else added. */
static uint32_t intern(struct gen *g, struct buf *strings, const char *s)
{
	size_t n = strlen(s) + 1;
	const uint8_t *p = strings->len && chance(g, 90) ? memmem(strings->data, strings->len, s, n) : NULL;

	if (!p) {
		if (buf_add(strings, s, n) < 0)
			abort();
		return (uint32_t)(strings->len - n);
	}
	return (uint32_t)(p - strings->data);
}

static void gen_ldcache(struct gen *g)
{
	_cleanup_buf_ struct buf strings = { 0 };
	struct buf *b = &g->want[GEN_ALL];
	unsigned n = count(g), hwcaps = chance(g, 30) ? (unsigned)(1 + gen_random(g, 3)) : 0;
	struct entry {
		uint32_t flags, key, value, hwcap;
		struct name path;
	} *v = calloc(n + 1, sizeof(*v));
	uint32_t caps[3], base = 48 + 24 * n;
	bool extension = hwcaps || chance(g, 80);

	if (!v)
		abort();
	strcpy(g->path, "/etc/ld.so.cache");
	for (unsigned i = 0; i < n; i++) {
		char soname[32];

		/* some paths are the end of another component's path */
		v[i].path = tagged(g, chance(g, 20) ? "/u~1" : chance(g, 20) ? "/w" : "", "");
		memmove(v[i].path.text + 1, v[i].path.text, strlen(v[i].path.text) + 1);
		v[i].path.text[0] = '/';
		snprintf(soname, sizeof(soname), "/lib%u.so.%u", (unsigned)gen_random(g, 6), (unsigned)gen_random(g, 2));
		if (chance(g, 5))
			strcpy(soname, "/x86-64-v2");
		if (i && chance(g, 25)) {
			snprintf(v[i].path.text, 64, "/x%s%.40s", chance(g, 50) ? "~2" : "", v[i - 1].path.text);
			*strrchr(v[i].path.text, '/') = '\0';
		}
		strcat(v[i].path.text, soname);
		v[i].path.mask = gen_mask(v[i].path.text, strlen(v[i].path.text));
		v[i].flags = chance(g, 50) ? 0x0303 : (uint32_t)gen_random(g, 5);
		v[i].hwcap = hwcaps && chance(g, 50) ? 1u << 30 : 0;
	}
	/* the last first: their ends are those before them */
	for (unsigned i = n; i-- > 0;) {
		v[i].value = intern(g, &strings, v[i].path.text);
		v[i].key = intern(g, &strings, strrchr(v[i].path.text, '/') + 1);
	}
	for (unsigned i = 0; i < hwcaps; i++)
		caps[i] = intern(g, &strings, i ? "x86-64-v3" : "x86-64-v2");
	if (buf_add(b, "glibc-ld.so.cache1.1", 20) < 0)
		abort();
	add32(b, n);
	add32(b, (uint32_t)strings.len);
	add32(b, 2);
	add32(b, extension ? (uint32_t)align_up(base + strings.len, 4) : 0);
	if (buf_add_zero(b, 12) < 0)
		abort();
	for (unsigned i = 0; i < n; i++) {
		add32(b, v[i].flags);
		add32(b, base + v[i].key);
		add32(b, base + v[i].value);
		add32(b, i % 3);
		add32(b, 0);
		add32(b, v[i].hwcap);
	}
	if (buf_add(b, strings.data, strings.len) < 0)
		abort();
	if (extension) {
		uint32_t at;

		if (buf_align(b, 4) < 0)
			abort();
		at = (uint32_t)b->len + 8 + 16 * (hwcaps ? 2 : 1);
		add32(b, 0xEAA42174u);
		add32(b, hwcaps ? 2 : 1);
		if (hwcaps) {
			add32(b, 1);
			add32(b, 0);
			add32(b, at);
			add32(b, 4 * hwcaps);
		}
		add32(b, 0);
		add32(b, 0);
		add32(b, at + 4 * hwcaps);
		add32(b, 9);
		for (unsigned i = 0; i < hwcaps; i++)
			add32(b, base + caps[i]);
		add(b, "generator");
	}
	/* of the others: the libraries, as gen_read_cache() tells them */
	for (unsigned s = 0; s < GEN_ALL; s++)
		for (unsigned i = 0; i < n; i++)
			if (shows(v[i].path.mask, s))
				buf_printf(&g->want[s], "%s %s %x %x %x\n", strrchr(v[i].path.text, '/') + 1, v[i].path.text,
					   v[i].flags, i % 3, v[i].hwcap);
	free(v);
}

bool gen_read_cache(const struct buf *file, struct buf *out)
{
	const uint8_t *f = file->data;
	uint32_t n, base, end, ext, count_ext;
	uint8_t *needed;
	bool ok = true;

	if (file->len < 48 || memcmp(f, "glibc-ld.so.cache1.1", 20))
		return false;
	n = get32(f + 20);
	base = 48 + 24 * n;
	end = base + get32(f + 24);
	ext = get32(f + 32);
	if (end > file->len || (ext ? ext != align_up(end, 4) : end != file->len) || !(needed = calloc(end + 1, 1)))
		return false;
	for (uint32_t i = 0; ok && i < n; i++) {
		const uint8_t *e = f + 48 + 24 * i;
		uint32_t at[2] = { get32(e + 4), get32(e + 8) };

		for (unsigned k = 0; ok && k < 2; k++) {
			ok = at[k] >= base && at[k] < end && memchr(f + at[k], 0, end - at[k]);
			for (uint32_t p = at[k]; ok && p <= at[k] + strlen((const char *)f + at[k]); p++)
				needed[p] = 1;
		}
		if (ok)
			buf_printf(out, "%s %s %x %x %x\n", (const char *)f + at[0], (const char *)f + at[1], get32(e),
				   get32(e + 12), get32(e + 20));
	}
	count_ext = ext ? get32(f + ext + 4) : 0;
	for (uint32_t i = 0; ok && i < count_ext; i++) {
		const uint8_t *section = f + ext + 8 + 16 * i;
		uint32_t off = get32(section + 8), size = get32(section + 12);

		ok = off + size <= file->len;
		if (ok && get32(section) == 0)
			ok = size == 9 && !memcmp(f + off, "generator", 9) && off + size == file->len;
		for (uint32_t k = 0; ok && get32(section) == 1 && k < size; k += 4) {
			uint32_t at = get32(f + off + k);

			ok = at >= base && at < end && !strncmp((const char *)f + at, "x86-64-v", 8);
			for (uint32_t p = at; ok && p <= at + strlen((const char *)f + at); p++)
				needed[p] = 1;
		}
	}
	for (uint32_t p = base; ok && p < end; p++)
		if (!needed[p])
			buf_printf(out, "left: %c\n", f[p]);
	free(needed);
	return ok;
}

/* --- facts ------------------------------------------------------------------- */

bool gen_selected(const void *ctx, uint16_t comp)
{
	return !comp || *(const unsigned *)ctx >> (comp - 1) & 1;
}

static int answer(struct gen *g, const char *name, size_t len, uint32_t *ret)
{
	unsigned mask = gen_mask(name, len);
	uint16_t comps[GEN_COMPS];
	size_t n = 0;

	if (g->fail_after && !--g->fail_after)
		return -EIO;
	if (!len)
		abort();       /* nobody has that name */
	for (uint16_t c = 1; c <= GEN_COMPS; c++)
		if (mask >> (c - 1) & 1)
			comps[n++] = c;
	*ret = COND_ALWAYS;
	return n ? conds_any(g->facts.conds, comps, n, ret) : 0;
}

static int fact_package_of(void *ctx, const char *name, size_t len, const char *arch, size_t arch_len, uint32_t *ret)
{
	/* what is not the name's may not count */
	*ret = COND_ALWAYS;
	if (memchr(name, ':', len) || memchr(name, '/', len) || (arch_len && memcmp(arch, "amd64", MIN(arch_len, 5u))))
		return 0;
	return answer(ctx, name, len, ret);
}

static int fact_name_of(void *ctx, const char *name, size_t len, uint32_t *ret)
{
	return answer(ctx, name, len, ret);
}

static int fact_path_of(void *ctx, const char *path, size_t len, uint32_t *ret)
{
	*ret = COND_ALWAYS;
	return len && path[0] == '/' && !memchr(path, '!', len) ? answer(ctx, path, len, ret) : 0;
}

static int fact_file(void *ctx, const char *path, struct buf *out)
{
	static const char *const paths[] = { "/var/cache/debconf/config.dat", "/var/cache/debconf/passwords.dat",
					     "/var/cache/debconf/config.dat-old", "/var/cache/debconf/passwords.dat-old" };
	struct gen *g = ctx;

	for (size_t i = 0; i < ARRAY_SIZE(paths); i++)
		if (!strcmp(path, paths[i]) && g->files[i].cap)
			return buf_add(out, g->files[i].data, g->files[i].len);
	return -ENOENT;
}

static int fact_link(void *ctx, const char *path, struct buf *out)
{
	struct gen *g = ctx;

	if (strcmp(path, "/etc/alternatives/thing") || !g->link.len)
		return -ENOENT;
	return buf_add(out, g->link.data, g->link.len);
}

void gen_facts(struct gen *g, uint64_t seed)
{
	*g = (struct gen){ .seed = seed, .state = seed };
	g->facts = (struct merge_facts){ g, conds_new(), fact_package_of, fact_path_of, fact_name_of,
					 fact_name_of, fact_file, fact_link };
	if (!g->facts.conds)
		abort();
}

void gen_file(struct gen *g, const struct merge_driver *driver, uint64_t seed)
{
	static void (*const make[])(struct gen *) = {
		NULL, gen_passwd, gen_shadow, gen_group, gen_status, gen_extended, gen_debconf, gen_templates,
		gen_diversions, gen_statoverride, gen_trigger_file, gen_trigger_name, gen_alternatives, gen_ucf,
		gen_pathlines, gen_ldcache,
	};

	gen_facts(g, seed);
	make[driver->number](g);
}

void gen_done(struct gen *g)
{
	for (unsigned s = 0; s < GEN_SELECTIONS; s++) {
		buf_done(&g->want[s]);
		buf_done(&g->links[s]);
	}
	for (size_t i = 0; i < ARRAY_SIZE(g->files); i++)
		buf_done(&g->files[i]);
	buf_done(&g->link);
	g->facts.conds = conds_free(g->facts.conds);
}

void gen_damage(struct gen *g, struct buf *b)
{
	static const uint8_t bytes[] = "\n\n::,,/ \t#+-~123\xff\0A";

	for (unsigned n = (unsigned)(1 + gen_random(g, 4)); n && b->len; n--) {
		size_t at = gen_random(g, b->len);
		uint8_t c = chance(g, 80) ? bytes[gen_random(g, sizeof(bytes))] : (uint8_t)gen_random(g, 256);

		switch (gen_random(g, 4)) {
		case 0:
			b->data[at] = c;
			break;
		case 1:
			memmove(b->data + at, b->data + at + 1, --b->len - at);
			break;
		case 2:
			b->len = at;
			break;
		default:
			if (buf_add(b, &c, 1) < 0)
				abort();
			memmove(b->data + at + 1, b->data + at, b->len - at - 1);
			b->data[at] = c;
		}
	}
}
