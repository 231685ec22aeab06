/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What kind of text it is that somebody wants to append to: see compose.h.
 *
 * A look never grants anything, it only vetoes; so it may see structure where there is none (that costs a
 * decision), and has to see it where it is (else a program would read nonsense). The path says more than
 * the content where a program's files are known; private keys and binaries are told by content first.
 */
#include <ctype.h>
#include <fnmatch.h>

#include "base/util.h"
#include "merge/compose.h"
#include "merge/parse.h"

enum merge_why merge_sniff_why(enum sniff sniff)
{
	static const enum merge_why why[] = {
		[SNIFF_TEXT] = MERGE_WHY_NONE, [SNIFF_INI] = MERGE_WHY_NONE, [SNIFF_BINARY] = MERGE_WHY_BINARY,
		[SNIFF_JSON] = MERGE_WHY_JSON, [SNIFF_XML] = MERGE_WHY_XML, [SNIFF_YAML] = MERGE_WHY_YAML,
		[SNIFF_UNIT] = MERGE_WHY_UNIT, [SNIFF_SSHD] = MERGE_WHY_SSHD, [SNIFF_SCRIPT] = MERGE_WHY_SCRIPT,
		[SNIFF_SECRET] = MERGE_WHY_SECRET, [SNIFF_CERTIFICATE] = MERGE_WHY_SET,
		[SNIFF_GRAMMAR] = MERGE_WHY_GRAMMAR, [SNIFF_LARGE] = MERGE_WHY_SIZE,
	};

	return why[sniff];
}

/* --- by path ------------------------------------------------------------------- */

/* With a slash: the whole path, else its last name; `*` is anything. The first that matches. */
static const struct {
	const char *glob;
	enum sniff sniff;
} by_path[] = {
	{ "/etc/ssh/ssh_host_*_key", SNIFF_SECRET },
	{ "/etc/ssl/private/*", SNIFF_SECRET },
	{ "*/systemd/system/*", SNIFF_UNIT },
	{ "*/systemd/user/*", SNIFF_UNIT },
	{ "*/systemd/network/*", SNIFF_UNIT },
	{ "/etc/ssh/*", SNIFF_SSHD },
	{ "sshd_config", SNIFF_SSHD },
	{ "ssh_config", SNIFF_SSHD },
	{ "/etc/nsswitch.conf", SNIFF_GRAMMAR },
	{ "/etc/resolv.conf", SNIFF_GRAMMAR },
	{ "/etc/host.conf", SNIFF_GRAMMAR },
	{ "/etc/hostname", SNIFF_GRAMMAR },
	{ "/etc/mailname", SNIFF_GRAMMAR },
	{ "/etc/timezone", SNIFF_GRAMMAR },
	{ "/etc/adjtime", SNIFF_GRAMMAR },
	{ "/etc/machine-id", SNIFF_GRAMMAR },
	{ "/etc/pam.conf", SNIFF_GRAMMAR },
	{ "*/pam.d/*", SNIFF_GRAMMAR },
	{ "/etc/network/*", SNIFF_GRAMMAR },
	{ "*/apache2/*", SNIFF_GRAMMAR },
	{ "*/httpd/*", SNIFF_GRAMMAR },
	{ "*/nginx/*", SNIFF_GRAMMAR },
	{ "*/sites-available/*", SNIFF_GRAMMAR },
	{ "*/conf-available/*", SNIFF_GRAMMAR },
	{ "*.json", SNIFF_JSON },
	{ "*.xml", SNIFF_XML },
	{ "*.yaml", SNIFF_YAML },
	{ "*.yml", SNIFF_YAML },
	{ "*.toml", SNIFF_GRAMMAR },
	{ "*.desktop", SNIFF_GRAMMAR },
	{ "/etc/profile", SNIFF_SCRIPT },
	{ "/etc/profile.d/*", SNIFF_SCRIPT },
	{ "/etc/init.d/*", SNIFF_SCRIPT },
	{ "/etc/cron.hourly/*", SNIFF_SCRIPT },
	{ "/etc/cron.daily/*", SNIFF_SCRIPT },
	{ "/etc/cron.weekly/*", SNIFF_SCRIPT },
	{ "/etc/cron.monthly/*", SNIFF_SCRIPT },
	{ "rc.local", SNIFF_SCRIPT },
	{ "*.bashrc", SNIFF_SCRIPT },
	{ "*.sh", SNIFF_SCRIPT },
	{ "*.py", SNIFF_SCRIPT },
	{ "*.pl", SNIFF_SCRIPT },
	{ "*.php", SNIFF_SCRIPT },
	{ "*.js", SNIFF_SCRIPT },
	{ "*.lua", SNIFF_SCRIPT },
};

static bool sniff_path(const char *path, enum sniff *ret)
{
	for (size_t i = 0; i < ARRAY_SIZE(by_path); i++)
		if (!fnmatch(by_path[i].glob, strchr(by_path[i].glob, '/') ? path : base_name(path), 0)) {
			*ret = by_path[i].sniff;
			return true;
		}
	return false;
}

/* --- by content ------------------------------------------------------------------- */

static bool begins(struct span a, const char *with)
{
	size_t n = strlen(with);

	return a.len >= n && !memcmp(a.s, with, n);
}

static bool ends(struct span a, const char *with)
{
	size_t n = strlen(with);

	return a.len >= n && !memcmp(a.s + a.len - n, with, n);
}

static bool holds(struct span a, const char *what)
{
	return a.len && memmem(a.s, a.len, what, strlen(what));
}

static bool begins_one_of(struct span a, const char *const *v)
{
	for (; *v; v++)
		if (begins(a, *v))
			return true;
	return false;
}

/* The length of the UTF-8 character at @p, of @left bytes; 0: it is none. */
static size_t utf8_length(const uint8_t *p, size_t left)
{
	size_t n = *p < 0x80 ? 1 : *p >= 0xc2 && *p < 0xe0 ? 2 : (*p & 0xf0) == 0xe0 ? 3 : *p >= 0xf0 && *p < 0xf5 ? 4 : 0;

	if (!n || n > left)
		return 0;
	for (size_t i = 1; i < n; i++)
		if ((p[i] & 0xc0) != 0x80)
			return 0;
	/* longer than need be, surrogates, beyond the last */
	if ((*p == 0xe0 && p[1] < 0xa0) || (*p == 0xed && p[1] > 0x9f) || (*p == 0xf0 && p[1] < 0x90) ||
	    (*p == 0xf4 && p[1] > 0x8f))
		return 0;
	return n;
}

static bool is_binary(struct span a)
{
	for (size_t i = 0; i < a.len;) {
		size_t n = utf8_length(a.s + i, a.len - i);

		if (!n || a.s[i] == 0x7f || (a.s[i] < 0x20 && !strchr("\t\n\v\f\r\033", a.s[i])) || !a.s[i])
			return true;
		i += n;
	}
	return false;
}

/* In whatever format: a string of a JSON file as well. */
static bool has_private_key(struct span a)
{
	struct span rest = a;
	const uint8_t *p;

	while (rest.len && (p = memmem(rest.s, rest.len, "-----BEGIN ", 11))) {
		rest = span_from(rest, (size_t)(p - rest.s) + 11);
		if (rest.len && memmem(rest.s, MIN(rest.len, (size_t)60), "PRIVATE KEY", 11))
			return true;
	}
	return holds(a, "PuTTY-User-Key-File-") || holds(a, "AGE-SECRET-KEY-1");
}

static struct span skip_space(struct span a)
{
	if (begins(a, "\357\273\277"))
		a = (struct span){ a.s + 3, a.len - 3 };
	while (a.len && isspace(a.s[0]))
		a = (struct span){ a.s + 1, a.len - 1 };
	while (a.len && isspace(a.s[a.len - 1]))
		a.len--;
	return a;
}

/* Some programs allow comments: those before the first bracket do not hide it. */
static struct span skip_comments(struct span a)
{
	for (a = skip_space(a);;) {
		bool block = begins(a, "/*");
		const uint8_t *end = block ? memmem(a.s, a.len, "*/", 2) : begins(a, "//") ? memchr(a.s, '\n', a.len) : NULL;

		if (!end)
			return a;
		end += block ? 2 : 1;
		a = skip_space((struct span){ end, (size_t)(a.s + a.len - end) });
	}
}

/* An object or an array; not a section of an INI file. */
static bool is_json(struct span a)
{
	struct span in;

	a = skip_comments(a);
	if (!a.len || !strchr("{[", a.s[0]))
		return false;
	in = skip_space((struct span){ a.s + 1, a.len - 1 });
	if (a.s[0] == '{')
		return in.len && strchr("\"}'/", in.s[0]);
	if (in.len && strchr("{[\"", in.s[0]))
		return true;
	/* [1, 2], [true]: one bracket over all of it */
	return a.s[a.len - 1] == ']' && in.len && (strchr("-]", in.s[0]) || isdigit(in.s[0]) || begins(in, "true") ||
						   begins(in, "false") || begins(in, "null")) &&
	       (const uint8_t *)memchr(a.s, ']', a.len) == a.s + a.len - 1;
}

static bool is_xml(struct span a)
{
	a = skip_space(a);
	return a.len > 2 && a.s[0] == '<' && (a.s[1] == '?' || a.s[1] == '!' || isalpha(a.s[1])) && a.s[a.len - 1] == '>';
}

/* What the lines have shown. */
struct signs {
	bool unit, sites, braces, shell, key, certificate, section, yaml;
	unsigned ssh;
	size_t parent;             /* YAML: indentation + 1 of the line before, if that ends with a colon */
};

/* `key:` and below it, further in, `key: value` or `- item`. Flat `key: value` is many things. */
static void look_for_yaml(struct signs *s, struct span line)
{
	struct span text = span_trim(line);
	size_t in = (size_t)(text.s - line.s), word = 0;

	while (word < text.len && (isalnum(text.s[word]) || strchr("_-.\"'", text.s[word])))
		word++;
	if (s->parent) {
		bool item = begins(text, "- ") || (text.len == 1 && text.s[0] == '-');
		bool pair = word && word < text.len && text.s[word] == ':' && (word + 1 == text.len || text.s[word + 1] == ' ');

		s->yaml |= (in + 1 > s->parent && pair) || (in + 1 >= s->parent && item);
	}
	s->parent = word && word + 1 == text.len && text.s[word] == ':' ? in + 1 : 0;
}

static void look_at_line(struct signs *s, struct span line)
{
	static const char *const units[] = { "[Unit]", "[Service]", "[Install]", "[Socket]", "[Timer]", "[Mount]",
					     "[Automount]", "[Swap]", "[Slice]", "[Match]", "[NetDev]", NULL };
	static const char *const sites[] = { "<IfModule", "<VirtualHost", "<Directory", "<Location", "<Files", "<Proxy",
					     "<IfDefine", "<Macro", "<Limit", NULL };
	static const char *const shell[] = { "if [", "if test ", "function ", "exec ", ". /", "source /", NULL };
	static const char *const ssh[] = { "PermitRootLogin", "PasswordAuthentication", "AuthorizedKeysFile", "HostKey ",
					   "UsePAM ", "Subsystem", "Match User ", "Match Group ", "Match Address ", "Match Host ",
					   "KexAlgorithms", "KbdInteractiveAuthentication", "ChallengeResponseAuthentication",
					   "PubkeyAuthentication", "X11Forwarding", "AllowUsers", "AllowGroups", "DenyUsers",
					   "IdentityFile", "ProxyJump", "StrictHostKeyChecking", "Host *", NULL };
	struct span text = span_trim(line);

	if (ends(text, "\r"))
		text = span_trim((struct span){ text.s, text.len - 1 });
	if (!text.len || strchr("#;", text.s[0]))
		return;
	s->unit |= begins_one_of(text, units);
	s->sites |= begins_one_of(text, sites);
	s->braces |= ends(text, "{");
	s->shell |= begins_one_of(text, shell) || ends(text, "() {") || ends(text, "()") || span_is(text, SPAN("fi")) ||
		    span_is(text, SPAN("done")) || span_is(text, SPAN("esac")) || begins(text, "exit ") || ends(text, "; then") ||
		    ends(text, ";;");
	s->ssh += begins_one_of(text, ssh);
	s->key |= begins(text, "PrivateKey") && memchr(text.s, '=', text.len);
	s->certificate |= begins(text, "-----BEGIN ");
	s->section |= text.s[0] == '[' && memchr(text.s, ']', text.len);
	look_for_yaml(s, line);
}

/* Files with scripts in them, whose frame has a grammar of its own (grant.c). */
static bool embeds_scripts(const char *path)
{
	return !strcmp(path, "/etc/logrotate.conf") || !strncmp(path, "/etc/logrotate.d/", 17);
}

enum sniff merge_sniff(const char *path, const uint8_t *text, size_t len)
{
	struct span all = { text, len };
	struct signs s = { 0 };
	struct lines l = { text, len ? text + len : text, 0 };
	struct line line;
	enum sniff by = SNIFF_TEXT;

	if (len > MERGE_FILE_MAX)
		return SNIFF_LARGE;
	if (has_private_key(all))
		return SNIFF_SECRET;
	if (sniff_path(path, &by) && by == SNIFF_SECRET)
		return by;
	if (is_binary(all))
		return SNIFF_BINARY;
	if (by != SNIFF_TEXT)
		return by;
	if (begins(all, "#!") || begins(skip_space(all), "<?php"))
		return SNIFF_SCRIPT;
	if (is_json(all))
		return SNIFF_JSON;
	s.yaml = begins(all, "%YAML") || begins(all, "---\n") || begins(all, "--- ") || begins(all, "---\r\n");
	while (lines_next(&l, &line))
		look_at_line(&s, line.text);
	if (s.key)
		return SNIFF_SECRET;
	if (s.certificate)
		return SNIFF_CERTIFICATE;
	if (s.sites)
		return SNIFF_GRAMMAR;
	if (is_xml(all))
		return SNIFF_XML;
	if (s.unit)
		return SNIFF_UNIT;
	if (embeds_scripts(path))
		return SNIFF_TEXT;
	if (s.shell)
		return SNIFF_SCRIPT;
	if (s.ssh > 1)
		return SNIFF_SSHD;
	if (s.braces)
		return SNIFF_GRAMMAR;
	if (s.yaml)
		return SNIFF_YAML;
	return s.section ? SNIFF_INI : SNIFF_TEXT;
}
