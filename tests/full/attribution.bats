#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# suite: components and files of no package judged against trees that have one piece of software alone (network)
# Real machines: which packages are a component, and whose the files of no package are, judged against trees
# that have one piece of software alone.

load ../lib/common
bats_require_minimum_version 1.5.0

lamp=(-c apache=apache2 -c mysql=mariadb-server -c "php=php,libapache2-mod-php,php-mysql")
npr=(-c nginx=nginx -c postgresql=postgresql -c redis=redis)

setup_file() { need_root "the gold roots have devices and owners" && gold split; }

setup() { ready; }

# split TREE [OPTION...]: what capture would do, into split.json
split()
{
	local tree=$1
	shift
	plyfs capture -n "$gold/$tree" "$@" --list --json >split.json
}

# "NAME PACKAGES REQUIRES" of each component
shape()
{
	python3 -c '
import json
for c in json.load(open("split.json"))["components"]:
    print(c["name"], len(c["packages"]), ",".join(g[0] for g in c["requires"]))'
}

# judge TREE NAME=NAME.paths[:BELOW]...
judge()
{
	local tree=$1 word args=()
	shift
	for word; do args+=("${word%%=*}=$gold/${word#*=}"); done
	python3 "$PLYFS_TESTS/lib/attribution.py" "$gold/$tree" split.json "$gold/base.paths" "${args[@]}" \
		--except "$PLYFS_TESTS/lib/attribution.txt"
}

@test "apache, mysql and php: 12, 46 and 12 packages, nothing shared, php requires apache" {
	split lamp "${lamp[@]}"
	shape >found
	grep -v '^os ' found | diff - <(printf '%s\n' 'apache 12 ' 'mysql 46 ' 'php 12 apache')
}

@test "six components: one internal sub-image, of those that need it" {
	split six "${lamp[@]}" "${npr[@]}"
	shape >found
	cat found
	[ "$(grep -c '+' <(cut -d ' ' -f 1 found))" = 1 ]
	grep -qx 'apache+postgresql 3 ' found
	grep -qx 'apache 9 apache+postgresql' found
	grep -q '^php 12 .*apache' found
	[ "$(wc -l <found)" = 8 ]
}

@test "the same components, whatever their order" {
	split six "${lamp[@]}" "${npr[@]}"
	shape | sort >one
	split six "${npr[@]}" "${lamp[@]}"
	shape | sort >other
	diff one other
}

@test "files of no package: lamp" {
	split lamp "${lamp[@]}"
	judge lamp apache=apache.paths mysql=mysql.paths php=php.paths:apache
}

@test "files of no package: nginx, postgresql, redis" {
	split npr "${npr[@]}"
	judge npr nginx=nginx.paths postgresql=postgresql.paths redis=redis.paths
}

@test "files of no package: six components" {
	split six "${lamp[@]}" "${npr[@]}"
	judge six apache=apache.paths mysql=mysql.paths php=php.paths:apache nginx=nginx.paths \
		postgresql=postgresql.paths redis=redis.paths
}

@test "components proposes these, and what it proposes can be captured" {
	plyfs components "$gold/six" >six.yaml
	split six -m six.yaml
	shape >found
	cat found
	for name in apache2 mariadb php nginx postgresql redis; do grep -q "^$name " found; done
	plyfs components "$gold/base" --json >base.json
	python3 -c 'import json; assert len(json.load(open("base.json"))["components"]) == 1'
}

@test "an apache copied below /usr/local, with its unit and user, is a component by path and runs in a chroot" {
	local lib t=$PWD/t
	cp -a --reflink=auto "$gold/base" t
	mkdir -p t/usr/local/apache2/{bin,lib,conf,logs}
	cp "$gold/lamp/usr/sbin/apache2" t/usr/local/apache2/bin/httpd
	for lib in libapr-1.so.0 libaprutil-1.so.0 libpcre2-8.so.0 libcrypt.so.1 libexpat.so.1; do
		cp -L "$gold/lamp/usr/lib/x86_64-linux-gnu/$lib" t/usr/local/apache2/lib/ 2>/dev/null ||
			cp -L "$gold/lamp/lib/x86_64-linux-gnu/$lib" t/usr/local/apache2/lib/
	done
	printf '%s\n' '#!/bin/sh' 'LD_LIBRARY_PATH=/usr/local/apache2/lib exec /usr/local/apache2/bin/httpd "$@"' \
		>t/usr/local/apache2/bin/run
	chmod 755 t/usr/local/apache2/bin/run
	echo 'httpd:x:995:995::/usr/local/apache2:/usr/sbin/nologin' >>t/etc/passwd
	echo 'httpd:x:995:' >>t/etc/group
	chown 995:995 t/usr/local/apache2/logs
	printf '%s\n' '[Service]' 'ExecStart=/usr/local/apache2/bin/run -DFOREGROUND' 'User=httpd' '[Install]' \
		'WantedBy=multi-user.target' >t/etc/systemd/system/httpd.service
	mkdir -p t/etc/systemd/system/multi-user.target.wants
	ln -s ../httpd.service t/etc/systemd/system/multi-user.target.wants/httpd.service
	ln -s /usr/local/apache2/bin/run t/usr/local/bin/httpd
	# and a tree as Java programs have it
	mkdir -p t/opt/app-1.0/{bin,lib}
	printf '%s\n' '#!/bin/sh' 'echo app' >t/opt/app-1.0/bin/app
	chmod 755 t/opt/app-1.0/bin/app
	head -c 100000 /dev/urandom >t/opt/app-1.0/lib/app.jar
	ln -s app-1.0 t/opt/app
	ln -s /opt/app/bin/app t/usr/local/bin/app
	plyfs capture "$t" i.plyfs --level 1 -c web=/usr/local/apache2 -c app='/opt/app*' >/dev/null
	mkdir out
	plyfs layout i.plyfs out -s os,web --no-sync
	[ ! -e out/opt/app-1.0 ] && [ ! -L out/usr/local/bin/app ]
	[ -f out/etc/systemd/system/httpd.service ] && [ -L out/etc/systemd/system/multi-user.target.wants/httpd.service ]
	chroot out httpd -v | grep -q Apache
	rm -rf out
	mkdir out
	plyfs layout i.plyfs out -s os,app --no-sync
	[ "$(chroot out app)" = app ]
	[ ! -e out/etc/systemd/system/httpd.service ] && [ ! -e out/usr/local/apache2 ]
	rm -rf out
	mkdir out
	plyfs layout i.plyfs out --no-sync
	same t out
	rm -rf out t
}
