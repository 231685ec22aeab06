# shellcheck shell=bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The machine's own Debian 12 package sources; to be sourced. apt is asked what it knows, which reads
# every source format, and only Debian's lists of the release are taken, by their Origin and code name,
# since others' repositories use the same suite names.

# Lines of: URI, suite, component, file of the package list. Fails when there are none.
debian_lists()
{
	local lists
	command -v apt-get >/dev/null || return
	lists=$(debian_lists_at_hand)
	if [ -z "$lists" ] || ! awk '{ print $4 }' <<<"$lists" | xargs ls >/dev/null 2>&1; then
		apt-get -q update >&2 </dev/null || echo "apt-get update had errors" >&2
		lists=$(debian_lists_at_hand)
	fi
	[ -n "$lists" ] && printf '%s\n' "$lists"
}

debian_lists_at_hand()
{
	# shellcheck disable=SC2016  # apt expands these
	apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT) $(FILENAME) $(ORIGIN) $(CODENAME) $(ARCHITECTURE)' \
		'Created-By: Packages' |
		awk -v arch="$(dpkg --print-architecture)" '
			$5 == "Debian" && $6 ~ /^bookworm(-updates|-security)?$/ && $7 == arch && $3 == "main" {
				print $1, $2, $3, $4
			}'
}

# How this machine reaches its sources, as lines of apt.conf.
debian_apt_options()
{
	apt-config dump | grep -E '^Acquire::(https?::.*Proxy|https?::.*Proxy-Auto-Detect|Check-Valid-Until|Check-Date) ' || true
}

# debian_root LISTS DIR MMDEBSTRAP-OPTION...: chatter goes to DIR.log, whose end is shown on failure.
debian_root()
{
	local lists=$1 dir=$2 line options=()
	shift 2
	while IFS= read -r line; do options+=(--aptopt="$line"); done < <(debian_apt_options)
	awk '{ print "deb", $1, $2, $3 }' <<<"$lists" >"$dir.list"
	mmdebstrap --mode=root --format=directory --quiet --keyring=/usr/share/keyrings/debian-archive-keyring.gpg \
		--dpkgopt=force-unsafe-io "${options[@]}" "$@" bookworm "$dir" "$dir.list" >"$dir.log" 2>&1 </dev/null ||
		{
			tail -n 40 "$dir.log" >&2
			return 1
		}
}
