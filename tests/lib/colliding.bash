# shellcheck shell=bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Machines that were made from one, for tests of what happens where they collide: load ../lib/colliding

# machine DIR: what they have in common
machine()
{
	mkdir -p "$1"/etc/foo.d "$1"/usr/bin "$1"/etc/ssl/{certs,private}
	printf '127.0.0.1 localhost\n# 1\n# 2\n# 3\n# 4\n' >"$1/etc/hosts"
	echo one >"$1/etc/motd"
	echo 'sh' >"$1/usr/bin/sh"
}

# golds: os, web and db beside one another in the current directory, and image i.plyfs of them
golds()
{
	local g
	for g in os web db; do machine $g; done
	for g in web db; do
		printf '{"%s": 1}\n' $g >$g/etc/a.json
		printf 'of %s\n' $g >$g/etc/foo.d/text
		printf '\0%s' $g >$g/usr/bin/tool
		printf -- '-----BEGIN CERTIFICATE-----\n%s\n-----END CERTIFICATE-----\n' $g >$g/etc/ssl/certs/x.pem
		printf -- '-----BEGIN PRIVATE KEY-----\n%s\n-----END PRIVATE KEY-----\n' $g >$g/etc/ssl/private/x.key
	done
	sed -i 's/localhost/localhost web/' web/etc/hosts
	echo '10.0.0.2 db' >>db/etc/hosts
	rm web/etc/motd
	echo two >db/etc/motd
	mkdir web/srv
	echo file >db/srv
	image os web db
}

# image OS NAME...: i.plyfs
image()
{
	local g
	plyfs capture "$1" i.plyfs >/dev/null
	shift
	for g; do plyfs add i.plyfs "$g" "$g" >/dev/null; done
}

# decided RULE: what plan writes for i.plyfs, with that rule everywhere, to p.yaml
decided()
{
	plyfs plan i.plyfs --write p.yaml >/dev/null || [ $? = 3 ]
	sed -i "s/resolve: undecided/resolve: $1/" p.yaml
}
