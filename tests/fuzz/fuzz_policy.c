/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Fuzz target: a policy, held against made-up collisions (first byte, bit 0); and the lines of decisions that the
 * daemon reads.
 */
#include <sys/stat.h>

#include "collisions.h"
#include "fuzz.h"
#include "merge/compose.h"
#include "policy.h"

#include "fuse/decisions.c"

static const char *const names[] = { "os", "apache", "php" };
static const bool selected[] = { true, true, true };

static int content(void *ctx, uint32_t sub, const char *path, char **ret, struct ply_err *err)
{
	(void)ctx;
	(void)err;
	touch(path, strlen(path) + 1);
	*ret = strdup(sub ? "directory" : "deleted");
	return *ret ? 0 : -ENOMEM;
}

static void decide(const struct policy *p)
{
	static char *const paths[] = { "/etc/a", "/etc/foo.d/b", "/odd\n" };
	struct holder holders[] = { { .ref = 1, .sub = 1, .mode = S_IFREG | 0644 },
				    { .ref = 2, .sub = 2, .mode = S_IFREG | 0644 } };
	struct collision_pair pairs[3];
	struct collision all[3];
	struct collisions c = { .v = all, .n = 3, .pairs = pairs, .npairs = 3, .names = names, .selected = selected,
				.nnames = 3, .content = content };
	const struct policy_package package = { .name = "p", .label = "p:amd64", .target = POLICY_TARGET_NAME, .component = "web",
						.have = "1", .version = "2" };
	const struct policy_entry *first;
	struct ply_decision *v;
	struct ply_err err;
	uint8_t rule;
	size_t n;

	if (policy_decide_package(p, &package, &rule, &err) == 0 && rule != POLICY_TARGET && rule != POLICY_FAIL &&
	    rule != POLICY_UNDECIDED)
		abort();

	for (size_t i = 0; i < 3; i++) {
		pairs[i] = (struct collision_pair){ 2 * i + 1, 2 * i + 2, MERGE_CONFLICT, MERGE_WHY_JSON, 0 };
		all[i] = (struct collision){ .path = paths[i], .v = holders, .n = 2, .pair = i, .npairs = 1,
					     .cls = MERGE_CONFLICT, .why = MERGE_WHY_JSON, .appendable = i, .group = i };
	}
	if (policy_decide(p, &c, &n, &first, &err) == 0 && collisions_decisions(&c, true, &v, &n, &err) == 0)
		free(v);
}

/* What was read is written and read again. */
static void quote_all(const struct policy *p)
{
	for (size_t i = 0; i < p->n && i < 16; i++) {
		for (size_t k = 0; k < p->v[i].npaths && k < 16; k++) {
			struct buf text = { 0 };
			struct policy again;
			struct ply_err err;

			if (buf_printf(&text, "version: 1\nconflicts:\n  - %s: ", p->v[i].is_glob ? "glob" : "path") < 0 ||
			    policy_quote(&text, p->v[i].paths[k]) < 0 ||
			    buf_printf(&text, "\n    resolve: first\n%s", p->v[i].is_glob ? "" : "    of: {x: deleted}\n") < 0 ||
			    policy_parse("p", text.data, text.len, &again, &err) < 0 ||
			    strcmp(again.v[0].paths[0], p->v[i].paths[k]) != 0)
				abort();
			policy_done(&again);
			buf_done(&text);
		}
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };
	unsigned how = (unsigned)input_number(&in, 1);
	struct ply_err err;

	if (!size)
		return 0;
	if (how & 1) {
		struct decisions d = { 0 };

		if (decisions_parse((const char *)in.at, in.left, &d, &err) == 0)
			touch(d.v, d.n * sizeof(*d.v));
		decisions_done(&d);
	} else {
		struct policy p;

		if (policy_parse("p", in.at, in.left, &p, &err) < 0)
			return 0;
		decide(&p);
		quote_all(&p);
		policy_done(&p);
	}
	return 0;
}
