/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* See dpkg_status.h. A package stands once in the file for each architecture, of which there are few: so the map
 * by name has no long chains, whatever the file says. */
#include "dpkg_status.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "deb822.h"

#define PKGS_MAX  (1u << 17)
#define ARCHS_MAX 64u              /* of one package */

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

static int add_package(struct dpkg_status *s, const struct pkg *p, const struct dpkg_fields *f)
{
	int r = array_grow(&s->db.pkgs, &s->db.cap, s->db.n + 1, sizeof(*s->db.pkgs));

	if (r == 0)
		r = array_grow(&s->fields, &s->fields_cap, s->db.n + 1, sizeof(*s->fields));
	if (r == 0)
		r = map_add(&s->db.by_name, pkgdb_hash(p->name, strlen(p->name)), s->db.n);
	if (r < 0)
		return r;
	s->db.pkgs[s->db.n] = *p;
	s->fields[s->db.n++] = *f;
	return 0;
}

const struct pkg *dpkg_find_exact(const struct pkgdb *db, const char *name, const char *arch)
{
	uint64_t h = pkgdb_hash(name, strlen(name));

	for (size_t i = map_first(&db->by_name, h); i != MAP_END; i = map_next(&db->by_name, h, i)) {
		const struct pkg *p = &db->pkgs[db->by_name.slots[i].value];

		if (!strcmp(p->name, name) && !strcmp(p->arch, arch))
			return p;
	}
	return NULL;
}

static bool has_too_many(const struct pkgdb *db, const char *name)
{
	uint64_t h = pkgdb_hash(name, strlen(name));
	unsigned n = 0;

	for (size_t i = map_first(&db->by_name, h); i != MAP_END; i = map_next(&db->by_name, h, i))
		n++;
	return n >= ARCHS_MAX;
}

enum {
	F_PACKAGE, F_STATUS, F_ARCH, F_VERSION, F_SOURCE, F_PRIORITY, F_ESSENTIAL, F_PROTECTED,
	F_MULTI_ARCH, F_SIZE, F_DESCRIPTION, F_PRE_DEPENDS, F_DEPENDS, F_RECOMMENDS, F_PROVIDES,
	F_CONFLICTS, F_BREAKS, F_COUNT
};
#define STATUS_FIELDS { \
	[F_PACKAGE] = { "Package", NULL }, [F_STATUS] = { "Status", NULL }, \
	[F_ARCH] = { "Architecture", NULL }, [F_VERSION] = { "Version", NULL }, \
	[F_SOURCE] = { "Source", NULL }, [F_PRIORITY] = { "Priority", NULL }, \
	[F_ESSENTIAL] = { "Essential", NULL }, [F_PROTECTED] = { "Protected", NULL }, \
	[F_MULTI_ARCH] = { "Multi-Arch", NULL }, [F_SIZE] = { "Installed-Size", NULL }, \
	[F_DESCRIPTION] = { "Description", NULL }, [F_PRE_DEPENDS] = { "Pre-Depends", NULL }, \
	[F_DEPENDS] = { "Depends", NULL }, [F_RECOMMENDS] = { "Recommends", NULL }, \
	[F_PROVIDES] = { "Provides", NULL }, [F_CONFLICTS] = { "Conflicts", NULL }, \
	[F_BREAKS] = { "Breaks", NULL }, \
}

static bool is_yes(const char *value)
{
	return value && !strcmp(value, "yes");
}

static const char *or_empty(const char *value)
{
	return value ? value : "";
}

static int read_stanza(struct dpkg_status *s, const struct deb822 *text, unsigned line,
		       const struct deb822_field *f, struct ply_err *err)
{
	const char *priority = or_empty(f[F_PRIORITY].value), *multi = or_empty(f[F_MULTI_ARCH].value);
	struct dpkg_fields fields = {
		.pre_depends = f[F_PRE_DEPENDS].value,
		.depends = f[F_DEPENDS].value,
		.recommends = f[F_RECOMMENDS].value,
		.provides = f[F_PROVIDES].value,
		.conflicts = f[F_CONFLICTS].value,
		.breaks = f[F_BREAKS].value,
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
	if (dpkg_find_exact(&s->db, p.name, p.arch))
		return deb822_damaged(text, line, err, "the package stands twice in the file");
	if (s->db.n >= PKGS_MAX || has_too_many(&s->db, p.name))
		return deb822_damaged(text, line, err, "more packages than any machine has");
	/* values lie in our buffer and may be cut */
	p.source = source_of((char *)f[F_SOURCE].value, p.name);
	if (*p.summary)
		((char *)p.summary)[strcspn(p.summary, "\n")] = '\0';
	p.bytes = f[F_SIZE].value ? strtoull(f[F_SIZE].value, NULL, 10) : 0;
	p.bytes = p.bytes < UINT64_MAX >> 10 ? p.bytes << 10 : 0;
	p.important = is_yes(f[F_ESSENTIAL].value) || is_yes(f[F_PROTECTED].value) ||
		      !strcmp(priority, "required") || !strcmp(priority, "important");
	r = add_package(s, &p, &fields);
	return r < 0 ? ply_fail_nomem(err) : 0;
}

/* dpkg keeps a list of architectures only where there are several; its own package tells else. */
static void find_arch(struct dpkg_status *s)
{
	static const char *const telling[] = { "dpkg", "libc6", "base-files", "bash" };
	char *first = (char *)s->arch_text.data;

	if (first) {
		first[strcspn(first, "\n")] = '\0';
		if (is_name(first)) {
			s->db.arch = first;
			return;
		}
	}
	for (size_t i = 0; i < ARRAY_SIZE(telling); i++) {
		uint32_t at = pkgdb_find(&s->db, telling[i]);

		if (at != PKG_NONE && strcmp(s->db.pkgs[at].arch, "all")) {
			s->db.arch = s->db.pkgs[at].arch;
			return;
		}
	}
	for (size_t i = 0; i < s->db.n; i++)
		if (strcmp(s->db.pkgs[i].arch, "all")) {
			s->db.arch = s->db.pkgs[i].arch;
			return;
		}
}

int dpkg_status_read(struct dpkg_status *s, const char *file, struct ply_err *err)
{
	struct deb822_field f[F_COUNT] = STATUS_FIELDS;
	struct deb822 text;
	unsigned line = 0;
	int r = deb822_init(&text, (char *)s->text.data, s->text.len, file, err);

	s->db.arch = "";
	while (r >= 0 && (r = deb822_stanza(&text, f, F_COUNT, &line, err)) > 0)
		r = read_stanza(s, &text, line, f, err);
	if (r == 0)
		find_arch(s);
	return r;
}

void dpkg_status_done(struct dpkg_status *s)
{
	buf_done(&s->text);
	buf_done(&s->arch_text);
	free(s->fields);
	s->fields = NULL;
	pkgdb_done(&s->db);
}
