/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * fs/merge: what two contenders of a path are to one another, each row of DESIGN's table; what kind of text a look
 * takes one for; which paths are granted an append, and what vetoes it; appending.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "base/util.h"
#include "codec/codec.h"
#include "merge/compose.h"
#include "tap.h"

static struct span text_of(const char *s)
{
	return (struct span){ (const uint8_t *)s, s ? strlen(s) : 0 };
}

/* --- contenders ------------------------------------------------------------------- */

static struct contender contender(uint32_t mode, const char *text)
{
	struct contender c = { .mode = mode, .nlink = 1, .mtime_sec = 1000, .size = text ? strlen(text) : 0, .loaded = text };

	c.text = (const uint8_t *)text;
	c.len = text ? strlen(text) : 0;
	if (text)
		ck_assert_int_eq(sha256_once(text, c.len, c.digest), 0);
	return c;
}

static struct contender file(const char *text)
{
	return contender(S_IFREG | 0644, text);
}

static struct contender gone(void)
{
	return (struct contender){ .deleted = true };
}

/* Both ways round: the class does not depend on who is the first. */
static struct pair_class classify(const char *path, struct contender a, struct contender b, const struct contender *base)
{
	struct pair_class c, d;
	struct ply_err err = { 0 };

	ck_assert_msg(merge_classify(path, &a, &b, base, &c, &err) == 0, "%s", err.msg);
	ck_assert_msg(merge_classify(path, &b, &a, base, &d, &err) == 0, "%s", err.msg);
	ck_assert_msg(c.cls == d.cls && c.why == d.why, "%s: %u %u, and %u %u the other way round", path, c.cls, c.why, d.cls, d.why);
	ck_assert((c.cls == MERGE_CONFLICT) == (c.why != MERGE_WHY_NONE));
	return c;
}

#define IS(pair, want_cls, want_why, want_flags) \
	do { \
		struct pair_class is_ = pair; \
		ck_assert_int_eq(is_.cls, want_cls); \
		ck_assert_msg(is_.why == (want_why), "'%s', not '%s'", merge_why_text(is_.why), merge_why_text(want_why)); \
		ck_assert_int_eq(is_.flags, want_flags); \
	} while (0)

/* What is new in both: DESIGN 6, the table. */
START_TEST(new_in_both)
{
	static const char *const scripts[] = { "#!/bin/sh\necho a\n", "#!/bin/sh\necho b\n" };
	struct contender a = file("same\n"), b = file("same\n");

	IS(classify("/a", a, b, NULL), MERGE_SAME, 0, 0);
	b.mtime_nsec = 1;
	IS(classify("/a", a, b, NULL), MERGE_TIMES, 0, PAIR_TIMES);
	b.mode = S_IFREG | 0600;
	IS(classify("/a", a, b, NULL), MERGE_CONFLICT, MERGE_WHY_MODE, PAIR_MODE | PAIR_TIMES);
	b = file("same\n");
	b.gid = 7;
	IS(classify("/a", a, b, NULL), MERGE_CONFLICT, MERGE_WHY_OWNER, PAIR_OWNER);
	b = file("same\n");
	b.xattrs_digest = b.digest;
	IS(classify("/a", a, b, NULL), MERGE_CONFLICT, MERGE_WHY_XATTRS, PAIR_XATTRS);
	b = file("same\n");
	b.nlink = 2;
	IS(classify("/a", a, b, NULL), MERGE_CONFLICT, MERGE_WHY_LINKS, PAIR_LINKS);
	/* owners that differ are no append, whatever the text */
	a = file("vm.a = 1\n");
	b = file("vm.b = 1\n");
	b.uid = 3;
	IS(classify("/etc/sysctl.d/a.conf", a, b, NULL), MERGE_CONFLICT, MERGE_WHY_OWNER, PAIR_OWNER | PAIR_CONTENT);

	a = contender(S_IFDIR | 0755, NULL);
	b = contender(S_IFDIR | 0755, NULL);
	a.nlink = 3;
	IS(classify("/d", a, b, NULL), MERGE_SAME, 0, 0);
	b.mode = S_IFDIR | 0700;
	b.gid = 9;
	IS(classify("/d", a, b, NULL), MERGE_DIRECTORY, 0, PAIR_MODE | PAIR_OWNER);
	IS(classify("/d", a, file("x"), NULL), MERGE_CONFLICT, MERGE_WHY_TYPE, PAIR_TYPE | PAIR_MODE);
	IS(classify("/d", contender(S_IFLNK | 0777, "/x"), a, NULL), MERGE_CONFLICT, MERGE_WHY_TYPE, PAIR_TYPE);
	IS(classify("/d", contender(S_IFLNK | 0777, "/x"), contender(S_IFLNK | 0777, "/y"), NULL), MERGE_CONFLICT,
	   MERGE_WHY_TARGET, PAIR_CONTENT);
	IS(classify("/d", contender(S_IFLNK | 0777, "/x"), contender(S_IFLNK | 0777, "/x"), NULL), MERGE_SAME, 0, 0);
	a = contender(S_IFCHR | 0600, NULL);
	a.rdev = makedev(1, 3);
	IS(classify("/d", a, file("x"), NULL), MERGE_CONFLICT, MERGE_WHY_TYPE, PAIR_TYPE | PAIR_MODE);
	b = a;
	IS(classify("/d", a, b, NULL), MERGE_SAME, 0, 0);
	b.rdev = makedev(1, 5);
	IS(classify("/d", a, b, NULL), MERGE_CONFLICT, MERGE_WHY_DEVICE, PAIR_CONTENT);
	IS(classify("/d", contender(S_IFIFO | 0600, NULL), contender(S_IFIFO | 0600, NULL), NULL), MERGE_SAME, 0, 0);

	IS(classify("/etc/passwd", file("m:1\n"), file("p:2\n"), NULL), MERGE_DRIVER, 0, PAIR_CONTENT);
	IS(classify("/etc/passwd", file("m:1\n"), file("m:2\n"), NULL), MERGE_CONFLICT, MERGE_WHY_RECORD, PAIR_CONTENT);
	IS(classify("/etc/passwd", file("m:1\n"), file("m\n"), NULL), MERGE_CONFLICT, MERGE_WHY_UNKNOWN, PAIR_CONTENT);
	IS(classify("/etc/sysctl.d/a.conf", file("vm.a = 1\n"), file("vm.b = 1"), NULL), MERGE_APPEND, 0,
	   PAIR_CONTENT | PAIR_APPENDABLE);
	IS(classify("/etc/sysctl.d/a.conf", file("vm.a = 1\n"), file("vm.a = 2\n"), NULL), MERGE_CONFLICT, MERGE_WHY_KEYS, PAIR_CONTENT);
	/* only where somebody asks for it */
	IS(classify("/etc/foo.conf", file("one\n"), file("two\n"), NULL), MERGE_CONFLICT, MERGE_WHY_UNKNOWN,
	   PAIR_CONTENT | PAIR_APPENDABLE);
	IS(classify("/etc/foo.conf", file("a = 1\n"), file("a = 2\n"), NULL), MERGE_CONFLICT, MERGE_WHY_UNKNOWN, PAIR_CONTENT);
	IS(classify("/etc/foo.ini", file("[s]\na = 1\n"), file("[s]\na = 2\n"), NULL), MERGE_CONFLICT, MERGE_WHY_UNKNOWN, PAIR_CONTENT);
	IS(classify("/etc/foo.ini", file("[s]\na = 1\n"), file("[t]\na = 2\n"), NULL), MERGE_CONFLICT, MERGE_WHY_UNKNOWN,
	   PAIR_CONTENT | PAIR_APPENDABLE);
	IS(classify("/usr/bin/x", file(scripts[0]), file(scripts[1]), NULL), MERGE_CONFLICT, MERGE_WHY_SCRIPT, PAIR_CONTENT);
	IS(classify("/etc/hosts", file("#!/bin/sh\n"), file("1.2.3.4 a\n"), NULL), MERGE_CONFLICT, MERGE_WHY_SCRIPT, PAIR_CONTENT);
	IS(classify("/etc/a", file("{\"a\": 1}"), file("a"), NULL), MERGE_CONFLICT, MERGE_WHY_JSON, PAIR_CONTENT);

	/* what nobody has read */
	a = file("one\n");
	a.loaded = false;
	IS(classify("/etc/sysctl.conf", a, file("two\n"), NULL), MERGE_CONFLICT, MERGE_WHY_SIZE, PAIR_CONTENT);
	IS(classify("/etc/sysctl.conf", a, file("one\n"), NULL), MERGE_SAME, 0, 0);
}
END_TEST

/* Attribute by attribute, against what both started from. */
START_TEST(changed_in_both)
{
	struct contender base = file("1\n2\n3\n"), a = file("1a\n2\n3\n"), b = file("1\n2\n3\n");

	b.mode = S_IFREG | 0600;
	IS(classify("/etc/x", a, b, &base), MERGE_THREE_WAY, 0, PAIR_CONTENT | PAIR_MODE);
	a.mode = S_IFREG | 0640;
	IS(classify("/etc/x", a, b, &base), MERGE_CONFLICT, MERGE_WHY_MODE, PAIR_CONTENT | PAIR_MODE);
	b.mode = S_IFREG | 0640;
	b.uid = 3;
	IS(classify("/etc/x", a, b, &base), MERGE_THREE_WAY, 0, PAIR_CONTENT | PAIR_OWNER);

	a = file("1a\n2\n3\n");
	IS(classify("/etc/x", a, file("1\n2\n3b\n"), &base), MERGE_THREE_WAY, 0, PAIR_CONTENT);
	IS(classify("/etc/x", a, file("1b\n2\n3\n"), &base), MERGE_CONFLICT, MERGE_WHY_OVERLAP, PAIR_CONTENT);
	/* never an append, not where the path is granted one either */
	IS(classify("/etc/crontab", file("1\n2\n3\n4\n"), file("1\n2\n3\n5\n"), &base), MERGE_CONFLICT, MERGE_WHY_OVERLAP, PAIR_CONTENT);
	IS(classify("/etc/x", a, file("1\n2\n3\n"), &base), MERGE_THREE_WAY, 0, PAIR_CONTENT);
	IS(classify("/etc/x", file("\1"), file("\2"), &base), MERGE_CONFLICT, MERGE_WHY_BINARY, PAIR_CONTENT);
	base = file("r:0\n");
	IS(classify("/etc/passwd", file("r:0\nm:1\n"), file("r:0\np:2\n"), &base), MERGE_DRIVER, 0, PAIR_CONTENT);
	IS(classify("/etc/passwd", file("r:1\n"), file("r:2\n"), &base), MERGE_CONFLICT, MERGE_WHY_RECORD, PAIR_CONTENT);

	/* a base that is another type has no lines for them */
	base = contender(S_IFDIR | 0755, NULL);
	IS(classify("/etc/x", file("1\n"), file("2\n"), &base), MERGE_CONFLICT, MERGE_WHY_UNKNOWN, PAIR_CONTENT | PAIR_APPENDABLE);
	IS(classify("/etc/x", file("1\n"), contender(S_IFDIR | 0755, NULL), &base), MERGE_THREE_WAY, 0, PAIR_TYPE | PAIR_MODE);
	IS(classify("/etc/x", file("1\n"), contender(S_IFDIR | 0700, NULL), &base), MERGE_CONFLICT, MERGE_WHY_TYPE, PAIR_TYPE | PAIR_MODE);

	/* apache makes /etc/ssl/private 0710, somebody else gives it to a group; then another mode */
	base = contender(S_IFDIR | 0700, NULL);
	a = contender(S_IFDIR | 0710, NULL);
	b = contender(S_IFDIR | 0700, NULL);
	b.gid = 107;
	IS(classify("/etc/ssl/private", a, b, &base), MERGE_THREE_WAY, 0, PAIR_MODE | PAIR_OWNER);
	b.mode = S_IFDIR | 0750;
	IS(classify("/etc/ssl/private", a, b, &base), MERGE_CONFLICT, MERGE_WHY_MODE, PAIR_MODE | PAIR_OWNER);

	base = contender(S_IFLNK | 0777, "/mawk");
	IS(classify("/etc/alternatives/awk", contender(S_IFLNK | 0777, "/gawk"), base, &base), MERGE_THREE_WAY, 0, PAIR_CONTENT);
	IS(classify("/etc/alternatives/awk", contender(S_IFLNK | 0777, "/gawk"), contender(S_IFLNK | 0777, "/nawk"), &base),
	   MERGE_CONFLICT, MERGE_WHY_TARGET, PAIR_CONTENT);

	/* hard links */
	base = file("1\n2\n3\n");
	a = b = base;
	a.nlink = 2;
	IS(classify("/etc/x", a, b, &base), MERGE_THREE_WAY, 0, PAIR_LINKS);
	b.mode = S_IFREG | 0600;
	IS(classify("/etc/x", a, b, &base), MERGE_CONFLICT, MERGE_WHY_LINKS, PAIR_LINKS | PAIR_MODE);
}
END_TEST

START_TEST(deleted_in_one)
{
	struct contender base = file("1\n"), other = file("2\n"), same = file("1\n");

	same.mtime_sec = 5;
	IS(classify("/a", gone(), gone(), &base), MERGE_SAME, 0, PAIR_A_WHITEOUT | PAIR_B_WHITEOUT);
	IS(classify("/a", gone(), same, &base), MERGE_THREE_WAY, 0, PAIR_A_WHITEOUT | PAIR_TYPE);
	IS(classify("/a", other, gone(), &base), MERGE_CONFLICT, MERGE_WHY_DELETED, PAIR_B_WHITEOUT | PAIR_TYPE);
	/* it was another one's file that was deleted */
	IS(classify("/a", gone(), other, NULL), MERGE_SAME, 0, PAIR_A_WHITEOUT);
	base.deleted = true;
	IS(classify("/a", gone(), same, &base), MERGE_SAME, 0, PAIR_A_WHITEOUT);
}
END_TEST

/* --- what a look sees ------------------------------------------------------------------- */

static const struct {
	const char *path, *text;
	enum sniff sniff;
} looks[] = {
	{ "/etc/x", "", SNIFF_TEXT },
	{ "/etc/x", "# [a]\n; b\nlines\n", SNIFF_TEXT },
	{ "/etc/x", "a\1b", SNIFF_BINARY },
	{ "/etc/x", "\377\376a", SNIFF_BINARY },
	{ "/etc/x", "\355\240\200\n", SNIFF_BINARY },
	{ "/etc/x", "\300\257\n", SNIFF_BINARY },
	{ "/etc/x", "\303\244\n", SNIFF_TEXT },
	{ "/etc/x", "[mysqld]\na=1\n", SNIFF_INI },
	{ "/etc/x", "  # c\n\n[mysqld]\na=1\n", SNIFF_INI },
	{ "/etc/x", "{}", SNIFF_JSON },
	{ "/etc/x", " {\n\"a\": [1] }\n", SNIFF_JSON },
	{ "/etc/x", "// comment\n/* and */ {\"a\": 1}", SNIFF_JSON },
	{ "/etc/x", "[\n1, 2]\n", SNIFF_JSON },
	{ "/etc/x", "[{}]", SNIFF_JSON },
	{ "/etc/x", "\357\273\277[\"a\"]", SNIFF_JSON },
	{ "/etc/x.json", "a", SNIFF_JSON },
	{ "/etc/x", "<?xml version=\"1.0\"?>\n<a/>\n", SNIFF_XML },
	{ "/etc/x", "<!-- c -->\n<a>\n</a>\n", SNIFF_XML },
	{ "/etc/x", "<VirtualHost *:80>\n</VirtualHost>\n", SNIFF_GRAMMAR },
	{ "/etc/apache2/ports.conf", "Listen 80\n", SNIFF_GRAMMAR },
	{ "/etc/x", "server {\n  listen 80;\n}\n", SNIFF_GRAMMAR },
	{ "/etc/x", "---\na: 1\n", SNIFF_YAML },
	{ "/etc/x", "a:\n  b: 1\n", SNIFF_YAML },
	{ "/etc/x", "a:\n- b\n- c\n", SNIFF_YAML },
	{ "/etc/x.yml", "a", SNIFF_YAML },
	/* the four files of /etc that are no YAML */
	{ "/etc/x", "passwd:         files systemd\ngroup:          files\n", SNIFF_TEXT },
	{ "/etc/x", "Config: configdb\nTemplates: templatedb\n\nName: config\nDriver: File\n", SNIFF_TEXT },
	{ "/etc/x", "Description: a\n - b\n - c\nConffiles:\n /etc/a 123\n", SNIFF_TEXT },
	{ "/etc/x", "[Unit]\nDescription=a\n[Service]\nExecStart=/a\n", SNIFF_UNIT },
	{ "/etc/systemd/system/a.service.d/b.conf", "[x]\na=1\n", SNIFF_UNIT },
	{ "/etc/ssh/sshd_config", "Port 22\n", SNIFF_SSHD },
	{ "/etc/ssh/sshd_config.d/a.conf", "Port 22\n", SNIFF_SSHD },
	{ "/opt/x", "PermitRootLogin no\nPasswordAuthentication no\n", SNIFF_SSHD },
	{ "/etc/x", "#!/bin/sh\n", SNIFF_SCRIPT },
	{ "/etc/x", "A=1\nif [ -x /a ]; then\n  B=2\nfi\n", SNIFF_SCRIPT },
	{ "/etc/profile.d/a", "A=1\n", SNIFF_SCRIPT },
	{ "/etc/x", "<?php\n", SNIFF_SCRIPT },
	{ "/etc/x", "-----BEGIN RSA PRIVATE KEY-----\nabc\n", SNIFF_SECRET },
	{ "/etc/x", "-----BEGIN OPENSSH PRIVATE KEY-----\nabc\n", SNIFF_SECRET },
	{ "/etc/x", "-----BEGIN PGP PRIVATE KEY BLOCK-----\nabc\n", SNIFF_SECRET },
	{ "/etc/x.json", "{\"key\": \"-----BEGIN PRIVATE KEY-----\\nabc\"}", SNIFF_SECRET },
	{ "/etc/wireguard/a.conf", "[Interface]\nPrivateKey = abc\n", SNIFF_SECRET },
	{ "/etc/ssh/ssh_host_rsa_key", "anything", SNIFF_SECRET },
	{ "/etc/ssl/private/a", "\1\2", SNIFF_SECRET },
	{ "/etc/x", "-----BEGIN CERTIFICATE-----\nabc\n-----END CERTIFICATE-----\n", SNIFF_CERTIFICATE },
	{ "/etc/nsswitch.conf", "passwd: files\n", SNIFF_GRAMMAR },
	{ "/etc/pam.d/a", "auth required a.so\n", SNIFF_GRAMMAR },
	{ "/etc/x.toml", "a = 1\n", SNIFF_GRAMMAR },
	{ "/etc/resolv.conf", "nameserver 1.1.1.1\n", SNIFF_GRAMMAR },
	{ "/etc/logrotate.d/a", "/a {\n postrotate\n if [ -x /b ]; then\n /b\n fi\n endscript\n}\n", SNIFF_TEXT },
	{ "/etc/logrotate.d/a", "#!/bin/sh\n", SNIFF_SCRIPT },
	{ "/etc/mysql/conf.d/a.cnf", "[mysqld]\na=1\n", SNIFF_INI },
};

START_TEST(kinds_of_text)
{
	size_t n = strlen(looks[_i].text);
	uint8_t *copy = malloc(n + !n);

	ck_assert_ptr_nonnull(copy);
	memcpy(copy, looks[_i].text, n);
	ck_assert_msg(merge_sniff(looks[_i].path, copy, n) == looks[_i].sniff, "%s: %s is %d, not %d", looks[_i].path, looks[_i].text,
		      (int)merge_sniff(looks[_i].path, copy, n), (int)looks[_i].sniff);
	free(copy);
}
END_TEST

START_TEST(text_with_nul)
{
	ck_assert_int_eq(merge_sniff("/etc/x", (const uint8_t *)"a\0b", 3), SNIFF_BINARY);
	ck_assert_int_eq(merge_sniff("/etc/x", NULL, 0), SNIFF_TEXT);
	ck_assert_str_eq(merge_why_text(MERGE_WHY_SECRET), "a private key");
	ck_assert_str_eq(merge_why_text((enum merge_why)99), "an unknown reason");
}
END_TEST

/* --- granted, and vetoed ------------------------------------------------------------------- */

#define YES MERGE_WHY_NONE

static const struct {
	const char *path, *a, *b;
	enum merge_why why;
} grants[] = {
	{ "/etc/foo", "a\n", "b\n", MERGE_WHY_UNKNOWN },
	{ "/etc/hosts", "127.0.0.1 localhost\n::1 localhost\n10.0.0.1 a A.b\n", "127.0.0.1 localhost # that\n10.0.0.2 c\n", YES },
	{ "/etc/hosts", "10.0.0.1 a\n", "10.0.0.2 b a\n", MERGE_WHY_KEYS },
	{ "/etc/hosts", "10.0.0.1 A\n", "10.0.0.2 a\n", MERGE_WHY_KEYS },
	{ "/etc/hosts", "10.0.0.1#x a\n", "10.0.0.2 # a\n", YES },
	{ "/etc/modules", "a\n", "b", YES },
	{ "/etc/ld.so.conf.d/x.conf", "/a\n", "/b\n", YES },
	{ "/etc/ld.so.conf.d/x.conf", "/a\\", "/b\n", MERGE_WHY_GRAMMAR },
	{ "/etc/modules", "a\n", "\357\273\277b\n", MERGE_WHY_GRAMMAR },
	{ "/etc/crontab", "SHELL=/bin/sh\n* * * * * root a\n", "SHELL=/bin/sh\n1 * * * * root b=c\n", YES },
	{ "/etc/cron.d/x", "PATH=/a\n* * * * * root a\n", "* * * * * root b\n", MERGE_WHY_KEYS },
	{ "/etc/cron.d/x", "PATH=/a\n", "PATH=/b\n", MERGE_WHY_KEYS },
	{ "/etc/sysctl.d/x.conf", "vm.a=1\n; c\n", "-vm.b = 1\n", YES },
	{ "/etc/sysctl.d/x.conf", "vm.a=1\n", "-vm.a = 2\n", MERGE_WHY_KEYS },
	{ "/etc/sysctl.d/x.conf", "vm.a=1\n", "vm.a = 1\n", YES },
	{ "/etc/sysctl.d/x.conf", "vm.a=1\n", "vm.b 1\n", MERGE_WHY_GRAMMAR },
	{ "/etc/default/x", "A=1\nexport B='a b'\n", "C=\"$A\"\n", YES },
	{ "/etc/default/x", "A=1\n", "A=2\n", MERGE_WHY_KEYS },
	{ "/etc/default/x", "A=1\n", "B=$(cat /c)\n", MERGE_WHY_SCRIPT },
	{ "/etc/default/x", "A=1\n", "if [ -x /a ]; then\nB=1\nfi\n", MERGE_WHY_SCRIPT },
	{ "/etc/default/x", "A='1\n", "B='1\n", MERGE_WHY_GRAMMAR },
	{ "/etc/default/x", "A =1\n", "B=1\n", MERGE_WHY_GRAMMAR },
	{ "/etc/default/x", "A= b\n", "B=1\n", MERGE_WHY_GRAMMAR },
	{ "/etc/environment", "PATH=\"/a\"", "LANG=C\n", YES },
	{ "/etc/mysql/conf.d/x.cnf", "[mysqld]\na=1\nb\n", "[client]\na=2\n[mysqld]\nb\nc=3\n", YES },
	{ "/etc/mysql/mariadb.conf.d/x.cnf", "[mysqld]\nmax-a=1\n", "[mysqld]\nmax_a = 2\n", MERGE_WHY_KEYS },
	{ "/etc/mysql/conf.d/x.cnf", "[mysqld]\na=1\n", "b=2\n", MERGE_WHY_GRAMMAR },
	{ "/etc/mysql/conf.d/x.cnf", "b=2\n", "[mysqld]\na=1\n", YES },
	{ "/etc/mysql/my.cnf", "!includedir /a\n", "!includedir /b\n", YES },
	{ "/etc/mysql/conf.d/x.cnf", "[mysqld\na=1\n", "[client]\n", MERGE_WHY_GRAMMAR },
	{ "/etc/php/8.2/mods-available/x.ini", "; a\nextension=a.so\n[a]\na.b=1\n", "extension=b.so\nx[]=1\n", YES },
	{ "/etc/php/8.2/fpm/php.ini", "[a]\nmemory_limit=1\n", "[b]\nmemory_limit=2\n", MERGE_WHY_KEYS },
	{ "/etc/php/8.2/fpm/php.ini", "[HOST=a]\nmemory_limit=1\n", "[HOST=b]\nmemory_limit=2\n", YES },
	{ "/etc/logrotate.d/x", "/a /b {\n weekly\n postrotate\n }\n endscript\n}\n", "/c\n{\n}\n", YES },
	{ "/etc/logrotate.d/x", "/a /b {\n weekly\n}\n", "/c\n/b {\n}\n", MERGE_WHY_KEYS },
	{ "/etc/logrotate.d/x", "weekly\n/a {\n}\n", "/b {\n}\n", MERGE_WHY_KEYS },
	{ "/etc/logrotate.d/x", "/a {\n", "/b {\n}\n", MERGE_WHY_GRAMMAR },
	{ "/etc/logrotate.d/x", "/a { weekly\n}\n", "/b {\n}\n", MERGE_WHY_GRAMMAR },
	{ "/etc/sudoers.d/x", "a ALL=(ALL) ALL\n", "b ALL=(ALL) NOPASSWD: /c\n", YES },
	{ "/etc/sudoers.d/x", "User_Alias A = a, \\\n b\nd ALL=ALL\n", "User_Alias A = a, \\\n b\nc ALL=ALL\n", MERGE_WHY_KEYS },
	{ "/etc/sudoers.d/x", "Defaults secure_path=\"/a\"\n", "Defaults secure_path=\"/b\"\n", MERGE_WHY_KEYS },
	{ "/etc/sudoers.d/x", "Defaults env_reset\n", "Defaults !env_reset\n", MERGE_WHY_KEYS },
	{ "/etc/sudoers.d/x", "Defaults env_keep += \"A\"\n", "Defaults env_keep += \"B\"\n", YES },
	{ "/etc/fstab", "a /a ext4 defaults 0 0\n", "b /b ext4 defaults 0 0\n", YES },
	{ "/etc/fstab", "a /a ext4 defaults 0 0\n", "b /a ext4 defaults 0 0\n", MERGE_WHY_KEYS },
	{ "/etc/exports", "/a *(ro)\n", "/a *(rw)\n", MERGE_WHY_KEYS },
	{ "/etc/security/limits.d/x.conf", "* soft nofile 1\n", "* hard nofile 2\n", YES },
	{ "/etc/security/limits.d/x.conf", "* soft nofile 1\n", "* soft nofile 2\n", MERGE_WHY_KEYS },
	{ "/etc/security/limits.d/x.conf", "* soft\n", "a soft nofile 2\n", MERGE_WHY_GRAMMAR },
	{ "/etc/tmpfiles.d/x.conf", "d /run/a 0755 a a -\n", "d /run/a 0700 a a -\n", MERGE_WHY_KEYS },
	{ "/etc/sysusers.d/x.conf", "u a 1 -\n", "u b 2 -\n", YES },
	{ "/etc/modprobe.d/x.conf", "blacklist a\noptions b c=1\n", "options b d=1\ninstall e /bin/true\n", YES },
	{ "/etc/modprobe.d/x.conf", "install e /bin/false\n", "install e /bin/true\n", MERGE_WHY_KEYS },
	{ "/etc/aliases", "root: a\nb: c,\n d\n", "e: f\n", YES },
	{ "/etc/aliases", "b: c,\n d\n", "b: c,\n e\n", MERGE_WHY_KEYS },
	{ "/etc/apt/apt.conf.d/x", "// c\nA::B \"1\";\nC:: \"2\";\n", "A::D \"1\";\nC:: \"3\";\n", YES },
	{ "/etc/apt/apt.conf.d/x", "A::B \"1\";\n", "a::b \"2\";\n", MERGE_WHY_KEYS },
	{ "/etc/apt/apt.conf.d/x", "A { B \"1\"; };\n", "C \"2\";\n", MERGE_WHY_GRAMMAR },
	{ "/etc/apt/sources.list.d/x.list", "deb http://a b c\n", "# d\ndeb-src http://a b c\n", YES },
	{ "/etc/apt/sources.list.d/x.list", "deb http://a b c\n", "Types: deb\n", MERGE_WHY_GRAMMAR },
	{ "/etc/apt/sources.list.d/x.sources", "Types: deb\n", "Types: deb-src\n", MERGE_WHY_UNKNOWN },
	{ "/etc/ssl/certs/ca-certificates.crt", "-----BEGIN CERTIFICATE-----\n", "-----BEGIN CERTIFICATE-----\na\n", YES },
	{ "/etc/ssl/certs/a.crt", "-----BEGIN CERTIFICATE-----\n", "-----BEGIN CERTIFICATE-----\na\n", MERGE_WHY_SET },
	/* a granted path with another content */
	{ "/etc/sysctl.d/x.conf", "{\"a\": 1}\n", "vm.a = 1\n", MERGE_WHY_JSON },
	{ "/etc/hosts", "-----BEGIN EC PRIVATE KEY-----\n", "1.2.3.4 a\n", MERGE_WHY_SECRET },
	{ "/etc/modules", "a\1\n", "b\n", MERGE_WHY_BINARY },
};

static enum merge_why look(const char *path, const char *a, const char *b, bool forced)
{
	const struct span v[] = { text_of(a), text_of(b) };
	enum merge_why why;

	ck_assert_int_eq(merge_append_look(path, v, 2, forced, &why, NULL), 0);
	return why;
}

START_TEST(paths_are_granted)
{
	_cleanup_buf_ struct buf out = { 0 };
	const char *path = grants[_i].path;
	enum merge_why why = look(path, grants[_i].a, grants[_i].b, false);
	struct span v[2] = { text_of(grants[_i].a), text_of(grants[_i].b) };

	ck_assert_msg(why == grants[_i].why, "%s: %s", path, merge_why_text(why));
	/* who comes first is of no matter, but for what stands before any section or within a line */
	if (why != MERGE_WHY_GRAMMAR && !(strstr(path, "conf.d/x.cnf") && grants[_i].a[0] != '['))
		ck_assert_int_eq(look(path, grants[_i].b, grants[_i].a, false), why);
	/* what vetoes one that is granted vetoes one that is asked for */
	ck_assert_int_eq(look(path, grants[_i].a, grants[_i].b, true), why == MERGE_WHY_UNKNOWN ? MERGE_WHY_NONE : why);
	if (why)
		return;
	/* with what has come of it, each of them is still granted, and adds nothing */
	ck_assert_int_eq(merge_append(v, 2, NULL, &out, NULL), 0);
	for (unsigned i = 0; i < 2; i++) {
		struct span w[2] = { { out.data, out.len }, v[i] };
		_cleanup_buf_ struct buf again = { 0 };

		ck_assert_int_eq(merge_append_look(path, w, 2, false, &why, NULL), 0);
		ck_assert_int_eq(why, MERGE_WHY_NONE);
		ck_assert_int_eq(merge_append(w, 2, NULL, &again, NULL), 0);
		ck_assert(span_is((struct span){ again.data, again.len }, w[0]));
	}
}
END_TEST

/* Keys over all blocks, not only neighbours. */
START_TEST(three_blocks)
{
	struct span v[] = { text_of("a = 1\n"), text_of("b = 1\n"), text_of("a = 2\n") };
	enum merge_why why;

	ck_assert_int_eq(merge_append_look("/etc/sysctl.conf", v, 3, false, &why, NULL), 0);
	ck_assert_int_eq(why, MERGE_WHY_KEYS);
	v[2] = text_of("a = 1\nc = 1\n");
	ck_assert_int_eq(merge_append_look("/etc/sysctl.conf", v, 3, false, &why, NULL), 0);
	ck_assert_int_eq(why, MERGE_WHY_NONE);
	/* what one says twice is its own affair, unless another says it too */
	v[0] = text_of("a = 1\na = 2\n");
	ck_assert_int_eq(merge_append_look("/etc/sysctl.conf", v, 2, false, &why, NULL), 0);
	ck_assert_int_eq(why, MERGE_WHY_NONE);
	ck_assert_int_eq(merge_append_look("/etc/sysctl.conf", v, 3, false, &why, NULL), 0);
	ck_assert_int_eq(why, MERGE_WHY_KEYS);
	/* what counts for the other lines has to be in each of them, and in what was put together before */
	v[0] = text_of("A=1\n1 * * * * root a\nA=1\n");
	v[1] = text_of("A=1\n2 * * * * root a\n");
	v[2] = text_of("A=1\n3 * * * * root a\n");
	ck_assert_int_eq(merge_append_look("/etc/cron.d/a", v, 3, false, &why, NULL), 0);
	ck_assert_int_eq(why, MERGE_WHY_NONE);
	v[1] = text_of("2 * * * * root a\n");
	ck_assert_int_eq(merge_append_look("/etc/cron.d/a", v, 3, false, &why, NULL), 0);
	ck_assert_int_eq(why, MERGE_WHY_KEYS);
	/* none of them is XML */
	v[0] = text_of("<a\n");
	v[1] = text_of("b>\n");
	ck_assert_int_eq(merge_append_look("/etc/foo", v, 2, true, &why, NULL), 0);
	ck_assert_int_eq(why, MERGE_WHY_XML);
	ck_assert_int_eq(merge_append_look("/etc/sysctl.conf", v, 0, false, &why, NULL), 0);
	ck_assert_int_eq(why, MERGE_WHY_NONE);
}
END_TEST

/* --- appending ------------------------------------------------------------------- */

#define NONE ((size_t)-1)

static const struct {
	const char *v[4], *want;
	size_t off[4];             /* of a run that is its own; NONE: it stood there already */
} appends[] = {
	{ { "a\n", "b\n" }, "a\nb\n", { 0, 2 } },
	{ { "a", "b" }, "a\nb", { 0, 2 } },
	{ { "a", "b", "c\n", "d" }, "a\nb\nc\nd", { 0, 2, 4, 6 } },
	{ { "a\n", "a\n" }, "a\n", { 0, NONE } },
	{ { "a\n", "a" }, "a\n", { 0, NONE } },
	{ { "a", "a\n" }, "a", { 0, NONE } },
	{ { "", "a\n" }, "a\n", { NONE, 0 } },
	{ { "a\nb\nc\n", "b\n" }, "a\nb\nc\n", { 0, NONE } },
	{ { "a\nb\nc\n", "b\nc" }, "a\nb\nc\n", { 0, NONE } },
	{ { "a\nbc\n", "b\n" }, "a\nbc\nb\n", { 0, 5 } },
	{ { "a\ncb\n", "b\n" }, "a\ncb\nb\n", { 0, 5 } },
	{ { "cb", "b" }, "cb\nb", { 0, 3 } },
	{ { "a\n", "b\n", "a\n" }, "a\nb\n", { 0, 2, NONE } },
	{ { "\n\n", "\n" }, "\n\n", { 0, NONE } },
	{ { "a\n", "\n", "b" }, "a\n\nb", { 0, 2, 3 } },
	{ { "\n", "\n\n" }, "\n\n\n", { 0, 1 } },
};

START_TEST(each_block_once)
{
	struct span v[4];
	struct append_run runs[4];
	_cleanup_buf_ struct buf out = { 0 };
	size_t n = 0;

	for (; n < 4 && appends[_i].v[n]; n++)
		v[n] = text_of(appends[_i].v[n]);
	ck_assert_int_eq(buf_add(&out, "before", 6), 0);
	ck_assert_int_eq(merge_append(v, n, runs, &out, NULL), 0);
	buf_add(&out, "", 1);
	ck_assert_str_eq((const char *)out.data + 6, appends[_i].want);
	for (size_t i = 0; i < n; i++) {
		ck_assert_int_eq(runs[i].own, appends[_i].off[i] != NONE);
		if (runs[i].own)
			ck_assert_uint_eq(runs[i].off, appends[_i].off[i]);
		ck_assert_uint_le(runs[i].off + runs[i].len, out.len - 7);
		ck_assert(!runs[i].len || !memcmp(out.data + 6 + runs[i].off, v[i].s, runs[i].len));
	}
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("collide");

	tap_test(s, new_in_both);
	tap_test(s, changed_in_both);
	tap_test(s, deleted_in_one);
	tap_loop(s, kinds_of_text, 0, (int)ARRAY_SIZE(looks));
	tap_test(s, text_with_nul);
	tap_loop(s, paths_are_granted, 0, (int)ARRAY_SIZE(grants));
	tap_test(s, three_blocks);
	tap_loop(s, each_block_once, 0, (int)ARRAY_SIZE(appends));
	return s;
}

TAP_MAIN(suite)
