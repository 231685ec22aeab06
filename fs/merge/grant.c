/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * May texts be appended to one another? A table of paths grants it, each with the grammar of its lines; the look
 * at the content vetoes: other formats (sniff.c), lines that are not of that grammar, one key with different
 * values, a block that would be read as part of the section before it. See compose.h, merge_append_look().
 *
 * Keys are compared between blocks only: what one contributor says twice is its own affair. Some keys are lists
 * (PHP's extension=), and of some not even the same value may stand twice (logrotate's names of
 * logs, sudo's aliases): those are unique.
 *
 * Where the administrator asks to append whatever can be, paths that no table grants are taken for what they look
 * like: sections and keys, keys alone, or lines.
 */
#include <ctype.h>
#include <errno.h>
#include <fnmatch.h>
#include <stdlib.h>
#include <strings.h>

#include "base/map.h"
#include "base/util.h"
#include "merge/append.h"
#include "merge/compose.h"
#include "merge/parse.h"

/* --- the table ------------------------------------------------------------------- */

enum grammar {
	GRAMMAR_NONE,
	GRAMMAR_LINES,             /* a set: nothing can clash */
	GRAMMAR_HOSTS,             /* ADDRESS NAME... */
	GRAMMAR_VALUES,            /* KEY = VALUE */
	GRAMMAR_SHELL,             /* KEY=VALUE, as a shell reads it */
	GRAMMAR_INI,               /* [SECTION], KEY = VALUE, KEY */
	GRAMMAR_PHP,               /* the same, but sections mean nothing */
	GRAMMAR_CRON,
	GRAMMAR_LOGROTATE,
	GRAMMAR_SUDOERS,
	GRAMMAR_WORD,              /* the first word is a unique key; so below */
	GRAMMAR_WORD_2,            /* the second one */
	GRAMMAR_WORDS_2,           /* the first two */
	GRAMMAR_WORDS_3,
	GRAMMAR_MODPROBE,
	GRAMMAR_APT,               /* KEY "VALUE"; */
	GRAMMAR_SOURCES,           /* deb ... */
	GRAMMAR_COLON,             /* KEY: VALUE */
	GRAMMAR_CERTIFICATES,      /* nothing but certificates */
};

/* `*` is anything, slashes too. The first that matches. */
static const struct {
	const char *glob;
	enum grammar grammar;
} grants[] = {
	{ "/etc/hosts", GRAMMAR_HOSTS },
	{ "/etc/hosts.allow", GRAMMAR_LINES },
	{ "/etc/hosts.deny", GRAMMAR_LINES },
	{ "/etc/networks", GRAMMAR_LINES },
	{ "/etc/ethers", GRAMMAR_LINES },
	{ "/etc/services", GRAMMAR_LINES },
	{ "/etc/protocols", GRAMMAR_LINES },
	{ "/etc/rpc", GRAMMAR_LINES },
	{ "/etc/securetty", GRAMMAR_LINES },
	{ "/etc/ftpusers", GRAMMAR_LINES },
	{ "/etc/locale.gen", GRAMMAR_LINES },
	{ "/etc/modules", GRAMMAR_LINES },
	{ "/etc/modules-load.d/*.conf", GRAMMAR_LINES },
	{ "/etc/initramfs-tools/modules", GRAMMAR_LINES },
	{ "/etc/ld.so.conf", GRAMMAR_LINES },
	{ "/etc/ld.so.conf.d/*.conf", GRAMMAR_LINES },
	{ "/etc/cron.allow", GRAMMAR_LINES },
	{ "/etc/cron.deny", GRAMMAR_LINES },
	{ "/etc/at.allow", GRAMMAR_LINES },
	{ "/etc/at.deny", GRAMMAR_LINES },
	{ "/etc/crontab", GRAMMAR_CRON },
	{ "/etc/cron.d/*", GRAMMAR_CRON },
	{ "/etc/sysctl.conf", GRAMMAR_VALUES },
	{ "/etc/sysctl.d/*.conf", GRAMMAR_VALUES },
	{ "/etc/environment", GRAMMAR_SHELL },
	{ "/etc/environment.d/*.conf", GRAMMAR_SHELL },
	{ "/etc/locale.conf", GRAMMAR_SHELL },
	{ "/etc/vconsole.conf", GRAMMAR_SHELL },
	{ "/etc/default/*", GRAMMAR_SHELL },
	{ "/etc/my.cnf", GRAMMAR_INI },
	{ "/etc/my.cnf.d/*.cnf", GRAMMAR_INI },
	{ "/etc/mysql/*.cnf", GRAMMAR_INI },
	{ "/etc/php/*.ini", GRAMMAR_PHP },
	{ "/etc/php.ini", GRAMMAR_PHP },
	{ "/etc/php.d/*.ini", GRAMMAR_PHP },
	{ "/etc/logrotate.conf", GRAMMAR_LOGROTATE },
	{ "/etc/logrotate.d/*", GRAMMAR_LOGROTATE },
	{ "/etc/sudoers", GRAMMAR_SUDOERS },
	{ "/etc/sudoers.d/*", GRAMMAR_SUDOERS },
	{ "/etc/fstab", GRAMMAR_WORD_2 },
	{ "/etc/exports", GRAMMAR_WORD },
	{ "/etc/exports.d/*.exports", GRAMMAR_WORD },
	{ "/etc/security/limits.conf", GRAMMAR_WORDS_3 },
	{ "/etc/security/limits.d/*.conf", GRAMMAR_WORDS_3 },
	{ "/etc/tmpfiles.d/*.conf", GRAMMAR_WORD_2 },
	{ "/etc/sysusers.d/*.conf", GRAMMAR_WORDS_2 },
	{ "/etc/modprobe.d/*.conf", GRAMMAR_MODPROBE },
	{ "/etc/aliases", GRAMMAR_COLON },
	{ "/etc/apt/apt.conf", GRAMMAR_APT },
	{ "/etc/apt/apt.conf.d/*", GRAMMAR_APT },
	{ "/etc/apt/sources.list", GRAMMAR_SOURCES },
	{ "/etc/apt/sources.list.d/*.list", GRAMMAR_SOURCES },
	{ "/etc/ssl/certs/ca-certificates.crt", GRAMMAR_CERTIFICATES },
	{ "*/ca-bundle.crt", GRAMMAR_CERTIFICATES },
};

static enum grammar grammar_of(const char *path)
{
	for (size_t i = 0; i < ARRAY_SIZE(grants); i++)
		if (!fnmatch(grants[i].glob, path, 0))
			return grants[i].grammar;
	return GRAMMAR_NONE;
}

/* --- keys ------------------------------------------------------------------- */

struct key {
	size_t off, len;           /* in names */
	size_t block;              /* the first that has it */
	struct span value;
	bool varies;               /* within that block */
	size_t last, nblocks;      /* of a setting: the last block that has it; how many have it. 0: no setting */
};

struct look {
	struct map map;            /* a name's hash -> v */
	struct buf names, name;    /* name: the next one */
	struct key *v;
	size_t n, cap;

	/* of the block that is looked at */
	size_t block;
	struct span section;
	bool sections, bare;       /* it has some; something stands before the first one */
	bool inside, script;       /* logrotate: of braces; of a script between them */
	enum merge_why why;
};

static void look_done(struct look *k)
{
	map_done(&k->map);
	buf_done(&k->names);
	buf_done(&k->name);
	free(k->v);
}

/* Of k->name. */
static struct key *find_key(const struct look *k, uint64_t h)
{
	for (size_t i = map_first(&k->map, h); i != MAP_END; i = map_next(&k->map, h, i)) {
		struct key *key = &k->v[k->map.slots[i].value];

		if (span_is((struct span){ k->names.data + key->off, key->len }, (struct span){ k->name.data, k->name.len }))
			return key;
	}
	return NULL;
}

static void veto(struct look *k, enum merge_why why)
{
	if (!k->why)
		k->why = why;
}

/* What programs that read it take for one key is one: @fold. */
enum fold { FOLD_NONE, FOLD_CASE, FOLD_DASH };

/* The key of @section and @name, and whether it is a new one. */
static int get_key(struct look *k, struct span section, struct span name, enum fold fold, struct key **ret, bool *ret_new)
{
	struct span all;
	uint64_t h;

	k->name.len = 0;
	if (buf_add(&k->name, section.s, section.len) < 0 || buf_add(&k->name, "", 1) < 0 ||
	    buf_add(&k->name, name.s, name.len) < 0)
		return -ENOMEM;
	for (size_t i = section.len + 1; fold && i < k->name.len; i++)
		k->name.data[i] = fold == FOLD_CASE ? (uint8_t)tolower(k->name.data[i]) :
				  k->name.data[i] == '-' ? '_' : k->name.data[i];
	all = (struct span){ k->name.data, k->name.len };
	h = span_hash(all);
	*ret = find_key(k, h);
	*ret_new = !*ret;
	if (*ret)
		return 0;
	if (array_grow(&k->v, &k->cap, k->n + 1, sizeof(*k->v)) < 0 || map_add(&k->map, h, k->n) < 0)
		return -ENOMEM;
	*ret = &k->v[k->n++];
	**ret = (struct key){ .off = k->names.len, .len = all.len, .block = k->block };
	return buf_add(&k->names, all.s, all.len);
}

/* With @unique not even the same value may come from two blocks. */
static int add_key(struct look *k, struct span section, struct span name, enum fold fold, struct span value, bool unique)
{
	struct key *key;
	bool new;
	int r = get_key(k, section, name, fold, &key, &new);

	if (r == 0 && new)
		key->value = value;
	else if (r == 0 && key->block == k->block)
		key->varies |= !span_is(key->value, value);
	else if (r == 0 && (unique || key->varies || !span_is(key->value, value)))
		veto(k, MERGE_WHY_KEYS);
	return r;
}

/* A line that says how others are meant: all blocks have to have it. */
static int add_setting(struct look *k, struct span line)
{
	struct key *key;
	bool new;
	int r = get_key(k, SPAN("\n"), line, FOLD_NONE, &key, &new);

	if (r == 0 && (new || key->last != k->block)) {
		key->last = k->block;
		key->nblocks++;
	}
	return r;
}

/* --- lines of each grammar ----------------------------------------------------------------- */

static const struct span nothing;

static struct span rest_of(struct span a, struct span word)
{
	return span_trim((struct span){ word.s + word.len, (size_t)(a.s + a.len - word.s) - word.len });
}

static bool is_name(struct span a)
{
	for (size_t i = 0; i < a.len; i++)
		if (!isalnum(a.s[i]) && a.s[i] != '_')
			return false;
	return a.len && !isdigit(a.s[0]);
}

/* Both trimmed. False: there is no such thing in it, or nothing before it. */
static bool split_at(struct span a, char sep, struct span *ret_key, struct span *ret_value)
{
	if (!a.len || !memchr(a.s, sep, a.len))
		return false;
	span_cut(&a, sep, ret_key);
	*ret_key = span_trim(*ret_key);
	*ret_value = span_trim(a);
	return ret_key->len > 0;
}

/* One line goes to the first family that it has an address of: localhost is both 127.0.0.1 and ::1. */
static int look_hosts(struct look *k, struct span line)
{
	const uint8_t *comment = memchr(line.s, '#', line.len);
	struct span address, name;
	bool six;
	int r = 0;

	if (comment)
		line = span_trim((struct span){ line.s, (size_t)(comment - line.s) });
	address = span_word(line);
	six = memchr(address.s, ':', address.len);
	for (line = rest_of(line, address); r == 0 && line.len; line = rest_of(line, name)) {
		name = span_word(line);
		r = add_key(k, six ? SPAN("6") : SPAN("4"), name, FOLD_CASE, address, false);
	}
	return r;
}

static int look_values(struct look *k, struct span line)
{
	struct span key, value;

	if (span_starts(line, '-'))
		line = span_trim((struct span){ line.s + 1, line.len - 1 });
	if (!split_at(line, '=', &key, &value))
		return veto(k, MERGE_WHY_GRAMMAR), 0;
	return add_key(k, nothing, key, FOLD_NONE, value, false);
}

/* Quotes that stay open, and commands, are more than values. */
static int look_shell(struct look *k, struct span line)
{
	struct span key, value;
	char quote = 0;

	if (span_is(span_word(line), SPAN("export")))
		line = rest_of(line, span_word(line));
	if (!split_at(line, '=', &key, &value) || !is_name(key) || key.s[key.len] != '=' ||
	    (value.len && value.s != key.s + key.len + 1))
		return veto(k, MERGE_WHY_GRAMMAR), 0;
	for (size_t i = 0; i < value.len; i++) {
		char c = (char)value.s[i];

		if (c == '`' || (c == '$' && i + 1 < value.len && value.s[i + 1] == '('))
			return veto(k, MERGE_WHY_SCRIPT), 0;
		if (c == '\\' && quote != '\'')
			i++;
		else if (quote ? c == quote : c == '"' || c == '\'')
			quote = quote ? 0 : c;
	}
	if (quote)
		veto(k, MERGE_WHY_GRAMMAR);
	return add_key(k, nothing, key, FOLD_NONE, value, false);
}

/* Several of these are a list, not another value. */
static bool is_additive(struct span key)
{
	static const char *const lists[] = { "extension", "zend_extension", "plugin-load-add", "plugin_load_add" };

	for (size_t i = 0; i < ARRAY_SIZE(lists); i++)
		if (key.len == strlen(lists[i]) && !memcmp(key.s, lists[i], key.len))
			return true;
	return key.len > 2 && key.s[key.len - 1] == ']' && key.s[key.len - 2] == '[';
}

static int look_ini(struct look *k, struct span line, bool php)
{
	struct span key, value = nothing;

	if (span_starts(line, '[')) {
		const uint8_t *end = memchr(line.s, ']', line.len);
		bool scope = !php || (line.len > 5 && (!strncasecmp((const char *)line.s, "[path", 5) ||
						       !strncasecmp((const char *)line.s, "[host", 5)));

		if (!end)
			return veto(k, MERGE_WHY_GRAMMAR), 0;
		if (scope) {
			k->section = (struct span){ line.s, (size_t)(end + 1 - line.s) };
			k->sections = true;
		} else {
			k->section = nothing;
		}
		return 0;
	}
	k->bare |= !k->section.len;
	if (span_starts(line, '!'))
		return 0;
	if (!split_at(line, '=', &key, &value))
		key = line;
	return is_additive(key) ? 0 : add_key(k, k->section, key, php ? FOLD_NONE : FOLD_DASH, value, false);
}

/* Variables count for all lines behind them. */
static int look_cron(struct look *k, struct span line)
{
	struct span key, value;

	return split_at(line, '=', &key, &value) && is_name(key) ? add_setting(k, line) : 0;
}

static int look_log_names(struct look *k, struct span line)
{
	int r = 0;

	while (r == 0 && line.len) {
		struct span word = span_word(line);

		r = add_key(k, nothing, word, FOLD_NONE, nothing, true);
		line = rest_of(line, word);
	}
	return r;
}

static int look_logrotate(struct look *k, struct span line)
{
	struct span word = span_word(line);
	const uint8_t *brace;

	if (k->script) {
		k->script = !span_is(word, SPAN("endscript"));
		return 0;
	}
	if (k->inside) {
		k->script = span_is(word, SPAN("postrotate")) || span_is(word, SPAN("prerotate")) ||
			    span_is(word, SPAN("firstaction")) || span_is(word, SPAN("lastaction")) ||
			    span_is(word, SPAN("preremove"));
		k->inside = !span_is(line, SPAN("}"));
		return 0;
	}
	brace = memchr(line.s, '{', line.len);
	if (brace) {
		if (brace + 1 < line.s + line.len)
			return veto(k, MERGE_WHY_GRAMMAR), 0;
		k->inside = true;
		line = span_trim((struct span){ line.s, (size_t)(brace - line.s) });
	}
	return brace || strchr("/\"'*", line.s[0]) ? look_log_names(k, line) : add_setting(k, line);
}

static int look_sudoers(struct look *k, struct span line)
{
	struct span word = span_word(line), rest = rest_of(line, word), key, value;

	if (word.len > 6 && !memcmp(word.s + word.len - 6, "_Alias", 6))
		return split_at(rest, '=', &key, &value) ? add_key(k, word, key, FOLD_NONE, value, true) :
							   (veto(k, MERGE_WHY_GRAMMAR), 0);
	if (word.len >= 8 && !memcmp(word.s, "Defaults", 8)) {
		if (!split_at(rest, '=', &key, &value)) {
			bool off = span_starts(rest, '!');

			key = off ? (struct span){ rest.s + 1, rest.len - 1 } : rest;
			value = off ? SPAN("off") : SPAN("on");
		}
		if (key.len && strchr("+-", key.s[key.len - 1]))       /* += */
			return 0;
		return add_key(k, word, key, FOLD_NONE, value, false);
	}
	return 0;
}

/* The words from @first to before @end are the key. */
static int look_words(struct look *k, struct span line, unsigned first, unsigned end, bool unique)
{
	struct span key = nothing, rest = line;

	for (unsigned i = 0; i < end; i++) {
		struct span word = span_word(rest);

		if (!word.len)
			return veto(k, MERGE_WHY_GRAMMAR), 0;
		if (i == first)
			key = word;
		key = i < first ? key : span_join(key, word);
		rest = rest_of(rest, word);
	}
	return add_key(k, nothing, key, FOLD_NONE, rest, unique);
}

static int look_modprobe(struct look *k, struct span line)
{
	struct span word = span_word(line);

	if (!span_is(word, SPAN("install")) && !span_is(word, SPAN("remove")) && !span_is(word, SPAN("alias")))
		return 0;
	return look_words(k, line, 0, 2, false);
}

static int look_apt(struct look *k, struct span line)
{
	struct span key = span_word(line);

	if (memchr(line.s, '{', line.len) || memchr(line.s, '}', line.len) || line.s[line.len - 1] != ';')
		return veto(k, MERGE_WHY_GRAMMAR), 0;
	if (key.len > 2 && !memcmp(key.s + key.len - 2, "::", 2))      /* a list */
		return 0;
	return add_key(k, nothing, key, FOLD_CASE, rest_of(line, key), false);
}

static int look_colon(struct look *k, struct span line)
{
	struct span key, value;

	if (!split_at(line, ':', &key, &value))
		return veto(k, MERGE_WHY_GRAMMAR), 0;
	return add_key(k, nothing, key, FOLD_CASE, value, false);
}

static int look_line(struct look *k, enum grammar g, struct span line)
{
	switch (g) {
	case GRAMMAR_HOSTS:
		return look_hosts(k, line);
	case GRAMMAR_VALUES:
		return look_values(k, line);
	case GRAMMAR_SHELL:
		return look_shell(k, line);
	case GRAMMAR_INI:
	case GRAMMAR_PHP:
		return look_ini(k, line, g == GRAMMAR_PHP);
	case GRAMMAR_CRON:
		return look_cron(k, line);
	case GRAMMAR_LOGROTATE:
		return look_logrotate(k, line);
	case GRAMMAR_SUDOERS:
		return look_sudoers(k, line);
	case GRAMMAR_WORD:
		return look_words(k, line, 0, 1, true);
	case GRAMMAR_WORD_2:
		return look_words(k, line, 1, 2, true);
	case GRAMMAR_WORDS_2:
		return look_words(k, line, 0, 2, false);
	case GRAMMAR_WORDS_3:
		return look_words(k, line, 0, 3, false);
	case GRAMMAR_MODPROBE:
		return look_modprobe(k, line);
	case GRAMMAR_APT:
		return look_apt(k, line);
	case GRAMMAR_SOURCES:
		if (!span_is(span_word(line), SPAN("deb")) && !span_is(span_word(line), SPAN("deb-src")))
			veto(k, MERGE_WHY_GRAMMAR);
		return 0;
	case GRAMMAR_COLON:
		return look_colon(k, line);
	case GRAMMAR_NONE:
	case GRAMMAR_LINES:
	case GRAMMAR_CERTIFICATES:
		break;
	}
	return 0;
}

/* --- blocks ------------------------------------------------------------------- */

static bool is_comment(enum grammar g, struct span line)
{
	switch (g) {
	case GRAMMAR_VALUES:
	case GRAMMAR_INI:
	case GRAMMAR_PHP:
		return strchr("#;", line.s[0]);
	case GRAMMAR_APT:
		return line.s[0] == '#' || (line.len > 1 && !memcmp(line.s, "//", 2));
	case GRAMMAR_SUDOERS:      /* #include is none */
		return line.s[0] == '#' && (line.len < 8 || memcmp(line.s, "#include", 8));
	default:
		return line.s[0] == '#';
	}
}

/* With the lines that continue it: behind a backslash, and for @indented those that begin with a blank. */
static bool next_logical(struct lines *l, bool indented, struct span *ret)
{
	struct line line;
	struct lines ahead;

	if (!lines_next(l, &line))
		return false;
	*ret = line.text;
	for (;;) {
		bool more = ret->len && ret->s[ret->len - 1] == '\\';

		ahead = *l;
		if (!more && indented && l->at < l->end && strchr(" \t", *l->at) && span_trim(*ret).len)
			more = lines_next(&ahead, &line) && span_trim(line.text).len;
		if (!more || !lines_next(l, &line))
			return true;
		*ret = span_join(*ret, line.text);
	}
}

/* Its last line goes on in what comes behind it. */
static bool is_open(struct span block)
{
	if (block.len && block.s[block.len - 1] == '\n')
		block.len--;
	return block.len && block.s[block.len - 1] == '\\';
}

static int look_block(struct look *k, enum grammar g, struct span block)
{
	struct lines l = { block.s, block.len ? block.s + block.len : block.s, 0 };
	struct span line;
	int r = 0;

	k->section = nothing;
	k->sections = k->bare = k->inside = k->script = false;
	if (k->block && block.len > 2 && !memcmp(block.s, "\357\273\277", 3))
		veto(k, MERGE_WHY_GRAMMAR);
	while (r == 0 && !k->why && next_logical(&l, g == GRAMMAR_COLON, &line)) {
		line = span_trim(line);
		if (line.len && line.s[line.len - 1] == '\r')
			line = span_trim((struct span){ line.s, line.len - 1 });
		if (line.len && !(is_comment(g, line) && !k->script))
			r = look_line(k, g, line);
	}
	if (k->inside || k->script)
		veto(k, MERGE_WHY_GRAMMAR);
	return r;
}

/* What a path that no table knows looks like. */
static enum grammar guess(const struct span *v, size_t n, const enum sniff *sniffs)
{
	enum grammar g = GRAMMAR_VALUES;
	struct span key, value;

	for (size_t i = 0; i < n; i++) {
		struct lines l = { v[i].s, v[i].len ? v[i].s + v[i].len : v[i].s, 0 };
		struct line line;

		if (sniffs[i] == SNIFF_INI)
			return GRAMMAR_INI;
		while (g == GRAMMAR_VALUES && lines_next(&l, &line)) {
			struct span text = span_trim(line.text);

			if (text.len && !is_comment(g, text) && !split_at(text, '=', &key, &value))
				g = GRAMMAR_LINES;
		}
	}
	return g;
}

static int look_blocks(struct look *k, enum grammar g, const struct span *v, size_t n)
{
	bool sections = false, open = false;
	size_t used = 0;
	int r = 0;

	for (size_t i = 0; r == 0 && !k->why && i < n; i++) {
		bool had = false;

		if (i)
			r = append_has(v, i, v[i], &had);
		if (r < 0 || had || !v[i].len)
			continue;
		k->block = i;
		r = look_block(k, g, v[i]);
		if (open || (sections && k->bare))
			veto(k, MERGE_WHY_GRAMMAR);
		sections |= k->sections;
		open = is_open(v[i]);
		used++;
	}
	for (size_t i = 0; i < k->n; i++)
		if (k->v[i].nblocks && k->v[i].nblocks != used)
			veto(k, MERGE_WHY_KEYS);
	return r;
}

/* What all of them together look like: a bracket at the beginning of one, and at the end of another. */
static int look_at_result(struct look *k, const char *path, enum grammar g, const struct span *v, size_t n)
{
	_cleanup_buf_ struct buf all = { 0 };
	enum sniff sniff;
	int r = merge_append(v, n, NULL, &all, NULL);

	if (r < 0)
		return r;
	sniff = merge_sniff(path, all.data, all.len);
	if (sniff != SNIFF_CERTIFICATE || g != GRAMMAR_CERTIFICATES)
		veto(k, merge_sniff_why(sniff));
	return 0;
}

int merge_append_look(const char *path, const struct span *v, size_t n, bool forced, enum merge_why *ret_why,
		      struct ply_err *err)
{
	_cleanup_free_ enum sniff *sniffs = calloc(n + 1, sizeof(*sniffs));
	enum grammar g = grammar_of(path);
	struct look k = { .why = MERGE_WHY_NONE };
	int r;

	if (!sniffs)
		return ply_fail_nomem(err);
	for (size_t i = 0; i < n; i++) {
		sniffs[i] = merge_sniff(path, v[i].s, v[i].len);
		if (sniffs[i] != SNIFF_CERTIFICATE || g != GRAMMAR_CERTIFICATES)
			veto(&k, merge_sniff_why(sniffs[i]));
	}
	if (!k.why && g == GRAMMAR_NONE) {
		if (!forced)
			veto(&k, MERGE_WHY_UNKNOWN);
		g = guess(v, n, sniffs);
	}
	r = k.why ? 0 : look_blocks(&k, g, v, n);
	if (r == 0 && !k.why)
		r = look_at_result(&k, path, g, v, n);
	if (r == 0)
		*ret_why = k.why;
	look_done(&k);
	return r < 0 ? ply_fail_nomem(err) : 0;
}
