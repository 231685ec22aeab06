/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Through the undecided conflicts at a terminal, as dpkg asks about a conffile: a letter and return. What was
 * decided is kept when the questions end early, by s or by the end of the input.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "planning.h"

#define PATHS_SHOWN 10u

/* What the policy leaves undecided on purpose is left so. */
static bool is_asked(const struct planning *p, const struct collision *k)
{
	return k->rule != POLICY_FAIL && collision_is_undecided(k, p->append);
}

static void decide(struct planning *p, size_t group, uint8_t rule)
{
	for (size_t i = group; i < p->c->n; i++) {
		struct collision *k = &p->c->v[i];

		if (k->group == group && is_asked(p, k))
			k->rule = rule;
	}
}

static size_t count_groups(const struct planning *p)
{
	size_t n = 0;

	for (size_t i = 0; i < p->c->n; i++) {
		bool open = false;

		for (size_t k = i; p->groups[i].n && !open && k < p->c->n; k++)
			open = p->c->v[k].group == i && is_asked(p, &p->c->v[k]);
		n += open;
	}
	return n;
}

/* The first of a group that is undecided; NULL: none is. */
static const struct collision *first_undecided(const struct planning *p, size_t group)
{
	for (size_t i = group; i < p->c->n; i++)
		if (p->c->v[i].group == group && is_asked(p, &p->c->v[i]))
			return &p->c->v[i];
	return NULL;
}

static int introduce(struct planning *p, size_t group, size_t at, size_t of, struct ply_err *err)
{
	const struct collision *first = first_undecided(p, group);
	_cleanup_buf_ struct buf holders = { 0 };
	char outcome[256];
	size_t shown = 0, more = 0;

	if (plan_holders(p, first, &holders) < 0)
		return ply_fail_nomem(err);
	printf("\nConflict %zu of %zu: %.*s: %s\n", at, of, (int)holders.len, (const char *)holders.data,
	       plan_outcome(p, first, outcome, sizeof(outcome)));
	if (p->groups[group].what)
		printf("  %s\n", p->groups[group].what);
	for (size_t i = group; i < p->c->n; i++) {
		const struct collision *k = &p->c->v[i];
		_cleanup_free_ char *path = NULL;

		if (k->group != group || !is_asked(p, k))
			continue;
		if (shown == PATHS_SHOWN) {
			more++;
			continue;
		}
		path = escape_name(k->path, strlen(k->path));
		printf("%s\n", path ? path : "?");
		plan_contenders(p, k);
		shown++;
	}
	if (more)
		printf("and %zu more\n", more);
	return 0;
}

static void help(const struct planning *p, size_t group)
{
	const struct collision *k = first_undecided(p, group);

	printf("  d  show the differences\n"
	       "  f  first: take %s's\n"
	       "  l  last: take %s's\n", p->c->names[k->v[0].sub], p->c->names[k->v[k->n - 1].sub]);
	if (plan_may(p, group, PLY_RULE_APPEND))
		printf("  a  append: one behind the other\n");
	if (plan_may(p, group, PLY_RULE_KEEP_BOTH))
		printf("  k  keep both: the others as NAME.plyfs-SUBIMAGE beside the first\n");
	printf("  s  save what is decided, and stop\n"
	       "  ?  this help\n"
	       "An empty line leaves it undecided.\n");
}

static int show_all(struct planning *p, size_t group, struct ply_err *err)
{
	int r = 0;

	for (size_t i = group; r == 0 && i < p->c->n; i++)
		if (p->c->v[i].group == group && is_asked(p, &p->c->v[i]))
			r = plan_differences(p, &p->c->v[i], err);
	return r;
}

char plan_answer(char **line, size_t *cap)
{
	ssize_t n = getline(line, cap, stdin);
	const char *s = *line;

	if (n <= 0) {
		putchar('\n');
		return 's';
	}
	s += strspn(s, " \t");
	if (!s[strspn(s, " \t\r\n")])
		return 0;
	return s[1 + strspn(s + 1, " \t\r\n")] ? '!' : *s;
}

/* What is asked for by the letter; 0: nothing. */
static uint8_t rule_of(char letter)
{
	switch (letter) {
	case 'f': return PLY_RULE_FIRST;
	case 'l': return PLY_RULE_LAST;
	case 'a': return PLY_RULE_APPEND;
	case 'k': return PLY_RULE_KEEP_BOTH;
	default: return 0;
	}
}

/* Until it is decided or left: *ret_stop is set where the questions shall end. */
static int ask(struct planning *p, size_t group, char **line, size_t *cap, bool *ret_stop, struct ply_err *err)
{
	for (;;) {
		int r = 0;
		char letter;
		uint8_t rule;

		printf("[d/f/l%s%s/s/?] ", plan_may(p, group, PLY_RULE_APPEND) ? "/a" : "",
		       plan_may(p, group, PLY_RULE_KEEP_BOTH) ? "/k" : "");
		fflush(stdout);
		letter = plan_answer(line, cap);
		rule = rule_of(letter);
		if (rule && plan_may(p, group, rule)) {
			decide(p, group, rule);
			return 0;
		}
		if (!letter)
			return 0;
		if (letter == 's') {
			*ret_stop = true;
			return 0;
		}
		if (letter == 'd')
			r = show_all(p, group, err);
		else if (letter == '?')
			help(p, group);
		else
			printf("that is not possible here; ? tells what is\n");
		if (r < 0)
			return r;
	}
}

int plan_ask(struct planning *p, size_t *ret_asked, struct ply_err *err)
{
	size_t of = count_groups(p), at = 0, cap = 0;
	_cleanup_free_ char *line = NULL;
	bool stop = false;
	int r = 0;

	for (size_t i = 0; r == 0 && !stop && i < p->c->n; i++) {
		if (!p->groups[i].n || !first_undecided(p, i))
			continue;
		r = introduce(p, i, ++at, of, err);
		if (r == 0)
			r = ask(p, i, &line, &cap, &stop, err);
	}
	*ret_asked = of;
	return r;
}
